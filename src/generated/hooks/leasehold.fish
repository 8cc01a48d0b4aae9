# Prints where among the words before the cursor the lock's name stands; nothing where no word is the name yet.
# Fails where the cursor is at an option's value, or the subcommand takes no name.
function __fish_leasehold_name_at
    set -l words (commandline -opc)
    set -l long
    set -l short
    switch "$words[2]"
@CASES@
        case '*'
            return 1
    end
    set -l i 3
    while test $i -le (count $words)
        switch $words[$i]
            case --
                set i (math $i + 1)
                break
            case '--*=*'
            case '--*'
                contains -- $words[$i] $long; and set i (math $i + 1)
            case '-?*'
                string match -qr -- $short $words[$i]; and set i (math $i + 1)
            case '*'
                break
        end
        set i (math $i + 1)
    end
    test $i -le (math (count $words) + 1); or return 1
    test $i -le (count $words); and echo $i
    return 0
end

function __fish_leasehold_at_name
    set -l name_at (__fish_leasehold_name_at); or return 1
    test -z "$name_at"; and not string match -q -- '-*' (commandline -ct)
end

function __fish_leasehold_after_name
    set -l name_at (__fish_leasehold_name_at); or return 1
    test -n "$name_at"; and test (commandline -opc)[2] = run
end

# Names of locks in use, with the connection options that were typed before.
function __fish_leasehold_names
    set -l words (commandline -opc)
    leasehold complete-names $words[2..-1] 2>/dev/null
end

# The command completes as if it stood alone.
function __fish_leasehold_command
    set -l words (commandline -opc)
    set -l first (math (__fish_leasehold_name_at) + 1)
    test "$words[$first]" = --; and set first (math $first + 1)
    set -l command (string escape -- $words[$first..-1]) (commandline -ct)
    complete -C "$command"
end

complete -c leasehold -n __fish_leasehold_at_name -f -a '(__fish_leasehold_names)' -d lock
complete -c leasehold -n __fish_leasehold_after_name -x -a '(__fish_leasehold_command)'
