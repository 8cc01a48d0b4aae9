# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_leasehold_global_optspecs
    string join \n h/help V/version
end

function __fish_leasehold_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_leasehold_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_leasehold_using_subcommand
    set -l cmd (__fish_leasehold_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c leasehold -n "__fish_leasehold_needs_command" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_needs_command" -s V -l version -d 'Print version'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "run" -d 'Take the lock, run a command, give the lock back'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "status" -d 'Show who holds a lock and who waits for it'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "list" -d 'Show all locks that are held, waited for, or left by somebody who vanished'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "watch" -d 'Show what happens under a lock, or under all, as it happens'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "history" -d 'Show who held a lock, when, for how long, and how it ended'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "break" -d 'Take a lock from its holder, or a place from somebody who waits'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "fence" -d 'Use the fencing token: for what must not be done by a holder that is one no more'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "once" -d 'Show or forget what --once remembers'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "doctor" -d 'Examine whether this machine can use the cluster, and which TTL fits it'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "config" -d 'Show every setting and where it came from, or check the configuration'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c leasehold -n "__fish_leasehold_needs_command" -f -a "man" -d 'Print the manual page'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l also -d 'Hold this lock too, in the same mode: all or none, without deadlock; can be given again' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l once -d 'Do not run if a run with this ID has already succeeded under this lock' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l slots -d 'At most N holders at a time [default: one]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s w -l wait -d 'Give up waiting after DUR, connecting included; 0 is -n [default: wait for ever]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s E -l conflict-exit-code -d 'Exit status when it gave up because the lock was busy [default: 75]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l ttl -d 'Lease time to live: how long a crashed host blocks others, and how long an outage is survived [default: 60s]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s k -l kill-after -d 'Time between TERM and KILL, taken out of the lease [default: a quarter of the TTL, at most 10s]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l kill-signal -d 'The signal that asks the command to end [default: TERM]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l max-runtime -d 'Stop the command DUR after the lock was acquired [default: no limit]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l lock-delay -d 'How much longer successors wait if this holder vanishes without giving the lock back [default: 2s]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l on-leftover -d 'What to do with processes that outlive the command [default: wait]' -r -f -a "wait\t'Hold the lock until they end'
kill\t'Stop them: TERM, grace, KILL'
leave\t'Let them live outside the lock'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l on-loss -d 'What a lost lock does to the command [default: kill]' -r -f -a "kill\t'Stop it before anybody else can get the lock'
warn\t'Only say so; for commands whose every write is fenced'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l queue -d 'What becomes of waiters when a newer one comes [default: fifo]' -r -f -a "fifo\t'Wait until it is our turn'
latest\t'Take the place of older waiters that said latest, and give ours to a newer one'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l hold-min -d 'Keep the lock at least DUR from when it was acquired, also when the command and leasehold have ended [default: 0]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l once-keep -d 'How long --once remembers [default: 30d]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l record -d 'Remember in etcd how the last run of each lock ended, for status and history [default: false]' -r -f -a "true\t''
false\t''"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l metrics-file -d 'Write metrics to FILE for node_exporter\'s textfile collector, or into a folder, one file for each lock' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l reason -d 'Shown to waiters and in status' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l report -d 'Write the outcome to FILE as one JSON object' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l log-format -d 'How messages on stderr are written' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s c -l command -d 'Run this by /bin/sh -c in place of COMMAND' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s n -l nonblock -l nb -d 'Give up at once when the lock is busy'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s x -l exclusive -d 'One holder at a time (this is the default)'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s s -l shared -d 'Share the lock with all others who share it: a reader beside readers'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s q -l quiet -d 'Say nothing while waiting or when the lock is busy'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s v -l verbose -d 'Say more'
complete -c leasehold -n "__fish_leasehold_using_subcommand run; and not __fish_leasehold_after_name" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -s q -l quiet -d 'Print nothing; the exit status says it: 0 free, 75 held'
complete -c leasehold -n "__fish_leasehold_using_subcommand status" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -l json -d 'Print one JSON object per line and lock, as status --json'
complete -c leasehold -n "__fish_leasehold_using_subcommand list" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -l json -d 'Print one JSON object per line and event, also on a terminal'
complete -c leasehold -n "__fish_leasehold_using_subcommand watch" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l last -d 'Show so many runs, the last ones [default: 20, with --json all]' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l svg -d 'Draw that into FILE, as SVG' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l timeline -d 'Draw who waited and who held it when'
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand history" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l token -d 'Whom to take it from: the token that status shows, of the holder or of somebody in the queue' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l reason -d 'Why: the holder\'s messages and report say it' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -l force -d 'Revoke without asking'
complete -c leasehold -n "__fish_leasehold_using_subcommand break" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and not __fish_seen_subcommand_from check put delete run" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and not __fish_seen_subcommand_from check put delete run" -f -a "check" -d 'Is this token still that of a running holder? 0 current, 79 stale'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and not __fish_seen_subcommand_from check put delete run" -f -a "put" -d 'Write a key in etcd, if the lock is held with this token at that moment'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and not __fish_seen_subcommand_from check put delete run" -f -a "delete" -d 'Delete a key in etcd, if the lock is held with this token at that moment'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and not __fish_seen_subcommand_from check put delete run" -f -a "run" -d 'Run a command on this machine, unless a newer token has been seen here'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Print nothing when the token is stale: the exit status says it'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l file -d 'Read the value from FILE' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l sequencer -d 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -s q -l quiet -d 'Print nothing when the token is stale: the exit status says it'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from put" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l sequencer -d 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -s q -l quiet -d 'Print nothing when the token is stale: the exit status says it'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -l state -d 'The file that remembers the newest token; FILE.lock and FILE.new beside it are used as well' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -l token -d 'The token: its number, or the whole sequencer, which also says of which cluster it is (default: $LEASEHOLD_SEQUENCER, else $LEASEHOLD_TOKEN)' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s w -l wait -d 'Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s k -l kill-after -d 'Time between TERM and KILL, for an older COMMAND and for this one' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s c -l command -d 'Run this by /bin/sh -c in place of COMMAND' -r
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s n -l nonblock -l nb -d 'Give up at once when another COMMAND runs under FILE'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -l preempt -d 'Stop an older COMMAND that runs under FILE, with all its processes, rather than wait for it'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s q -l quiet -d 'Say nothing while waiting or when it gave up'
complete -c leasehold -n "__fish_leasehold_using_subcommand fence; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and not __fish_seen_subcommand_from list forget" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and not __fish_seen_subcommand_from list forget" -f -a "list" -d 'Show what has been done under a lock, by whom and when'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and not __fish_seen_subcommand_from list forget" -f -a "forget" -d 'Forget that it was done, so that the next run with this ID does it again'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand once; and __fish_seen_subcommand_from forget" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and not __fish_seen_subcommand_from show check" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and not __fish_seen_subcommand_from show check" -f -a "show" -d 'Show every setting, its value and where it came from'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and not __fish_seen_subcommand_from show check" -f -a "check" -d 'Check the variables, the configuration files and the files that they name; 0, or 78 with the mistakes'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l endpoints -d 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l local -d 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]' -r -f -a "(__fish_complete_directories)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l prefix -d 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l connect-timeout -d 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l cacert -d 'Trust members whose certificate one of these authorities signed (PEM) [default: the system\'s authorities] [env: LEASEHOLD_CACERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l cert -d 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l key -d 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l tls-server-name -d 'The name that the members\' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]' -r -f -a "(__fish_print_hostnames)"
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l user -d 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]' -r -f
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l password-file -d 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]' -r -F
complete -c leasehold -n "__fish_leasehold_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c leasehold -n "__fish_leasehold_using_subcommand man" -s h -l help -d 'Print help'
complete -c leasehold -n "__fish_leasehold_using_subcommand completions" -f -a 'bash zsh fish elvish powershell'

# Prints where among the words before the cursor the lock's name stands; nothing where no word is the name yet.
# Fails where the cursor is at an option's value, or the subcommand takes no name.
function __fish_leasehold_name_at
    set -l words (commandline -opc)
    set -l long
    set -l short
    switch "$words[2]"
        case run
            set long --also --once --slots --wait --conflict-exit-code --ttl --kill-after --kill-signal --max-runtime --lock-delay --on-leftover --on-loss --queue --hold-min --once-keep --record --metrics-file --reason --report --log-format --command --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-[nxsqvh]*[wEkc]$'
        case status
            set long --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
        case list
            set long --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
        case watch
            set long --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
        case history
            set long --last --svg --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
        case break
            set long --token --reason --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
        case doctor
            set long --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config
            set short '^-$'
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
