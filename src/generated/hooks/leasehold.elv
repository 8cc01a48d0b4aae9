use re
use path

# For each subcommand with a lock's name: the options that take the next word, and the pattern of short ones.
var leasehold-named = [
@CASES@
]

var leasehold-options = $edit:completion:arg-completer[leasehold]

# Where among the words the lock's name stands; the last is the one being typed.
fn leasehold-name-at {|words|
    var long short = (all $leasehold-named[$words[1]])
    var at = (num 2)
    var found = $false
    while (and (not $found) (< $at (- (count $words) 1))) {
        var word = $words[$at]
        if (eq $word --) {
            set at = (+ $at 1)
            set found = $true
        } elif (or (has-value $long $word) (re:match $short $word)) {
            set at = (+ $at 2)
        } elif (and (!=s $word -) (str:has-prefix $word -)) {
            set at = (+ $at 1)
        } else {
            set found = $true
        }
    }
    put $at
}

set edit:completion:arg-completer[leasehold] = {|@words|
    var last = (- (count $words) 1)
    if (or (< $last 2) (not (has-key $leasehold-named $words[1]))) {
        $leasehold-options $@words
    } else {
        var at = (leasehold-name-at $words)
        if (or (> $at $last) (and (== $at $last) (str:has-prefix $words[$last] -))) {
            $leasehold-options $@words
        } elif (== $at $last) {
            # Names of locks in use, with the connection options that were typed before.
            try { (external leasehold) complete-names (all $words[1..$last]) 2>$path:dev-null | from-lines } catch e { }
        } elif (not-eq $words[1] run) {
            $leasehold-options $@words
        } else {
            var first = (+ $at 1)
            if (and (< $first $last) (eq $words[$first] --)) {
                set first = (+ $first 1)
            }
            # The command completes as if it stood alone.
            edit:complete-sudo sudo (all $words[$first..])
        }
    }
}
