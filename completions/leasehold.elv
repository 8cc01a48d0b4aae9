use builtin;
use str;

set edit:completion:arg-completer[leasehold] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'leasehold'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'leasehold'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand -V 'Print version'
            cand --version 'Print version'
            cand run 'Take the lock, run a command, give the lock back'
            cand status 'Show who holds a lock and who waits for it'
            cand list 'Show all locks that are held, waited for, or left by somebody who vanished'
            cand watch 'Show what happens under a lock, or under all, as it happens'
            cand history 'Show who held a lock, when, for how long, and how it ended'
            cand break 'Take a lock from its holder, or a place from somebody who waits'
            cand fence 'Use the fencing token: for what must not be done by a holder that is one no more'
            cand once 'Show or forget what --once remembers'
            cand doctor 'Examine whether this machine can use the cluster, and which TTL fits it'
            cand config 'Show every setting and where it came from, or check the configuration'
            cand completions 'Print the completion script of a shell'
            cand man 'Print the manual page'
        }
        &'leasehold;run'= {
            cand --also 'Hold this lock too, in the same mode: all or none, without deadlock; can be given again'
            cand --once 'Do not run if a run with this ID has already succeeded under this lock'
            cand --slots 'At most N holders at a time [default: one]'
            cand -w 'Give up waiting after DUR, connecting included; 0 is -n [default: wait for ever]'
            cand --wait 'Give up waiting after DUR, connecting included; 0 is -n [default: wait for ever]'
            cand -E 'Exit status when it gave up because the lock was busy [default: 75]'
            cand --conflict-exit-code 'Exit status when it gave up because the lock was busy [default: 75]'
            cand --ttl 'Lease time to live: how long a crashed host blocks others, and how long an outage is survived [default: 60s]'
            cand -k 'Time between TERM and KILL, taken out of the lease [default: a quarter of the TTL, at most 10s]'
            cand --kill-after 'Time between TERM and KILL, taken out of the lease [default: a quarter of the TTL, at most 10s]'
            cand --kill-signal 'The signal that asks the command to end [default: TERM]'
            cand --max-runtime 'Stop the command DUR after the lock was acquired [default: no limit]'
            cand --lock-delay 'How much longer successors wait if this holder vanishes without giving the lock back [default: 2s]'
            cand --on-leftover 'What to do with processes that outlive the command [default: wait]'
            cand --on-loss 'What a lost lock does to the command [default: kill]'
            cand --queue 'What becomes of waiters when a newer one comes [default: fifo]'
            cand --hold-min 'Keep the lock at least DUR from when it was acquired, also when the command and leasehold have ended [default: 0]'
            cand --once-keep 'How long --once remembers [default: 30d]'
            cand --record 'Remember in etcd how the last run of each lock ended, for status and history [default: false]'
            cand --metrics-file 'Write metrics to FILE for node_exporter''s textfile collector, or into a folder, one file for each lock'
            cand --reason 'Shown to waiters and in status'
            cand --report 'Write the outcome to FILE as one JSON object'
            cand --log-format 'How messages on stderr are written'
            cand -c 'Run this by /bin/sh -c in place of COMMAND'
            cand --command 'Run this by /bin/sh -c in place of COMMAND'
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -n 'Give up at once when the lock is busy'
            cand --nonblock 'Give up at once when the lock is busy'
            cand --nb 'Give up at once when the lock is busy'
            cand -x 'One holder at a time (this is the default)'
            cand --exclusive 'One holder at a time (this is the default)'
            cand -s 'Share the lock with all others who share it: a reader beside readers'
            cand --shared 'Share the lock with all others who share it: a reader beside readers'
            cand -q 'Say nothing while waiting or when the lock is busy'
            cand --quiet 'Say nothing while waiting or when the lock is busy'
            cand -v 'Say more'
            cand --verbose 'Say more'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'leasehold;status'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object'
            cand -q 'Print nothing; the exit status says it: 0 free, 75 held'
            cand --quiet 'Print nothing; the exit status says it: 0 free, 75 held'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;list'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object per line and lock, as status --json'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;watch'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object per line and event, also on a terminal'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;history'= {
            cand --last 'Show so many runs, the last ones [default: 20, with --json all]'
            cand --svg 'Draw that into FILE, as SVG'
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --timeline 'Draw who waited and who held it when'
            cand --json 'Print one JSON object'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;break'= {
            cand --token 'Whom to take it from: the token that status shows, of the holder or of somebody in the queue'
            cand --reason 'Why: the holder''s messages and report say it'
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --force 'Revoke without asking'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;fence'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand check 'Is this token still that of a running holder? 0 current, 79 stale'
            cand put 'Write a key in etcd, if the lock is held with this token at that moment'
            cand delete 'Delete a key in etcd, if the lock is held with this token at that moment'
            cand run 'Run a command on this machine, unless a newer token has been seen here'
        }
        &'leasehold;fence;check'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -q 'Print nothing when the token is stale: the exit status says it'
            cand --quiet 'Print nothing when the token is stale: the exit status says it'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;fence;put'= {
            cand --file 'Read the value from FILE'
            cand --sequencer 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)'
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -q 'Print nothing when the token is stale: the exit status says it'
            cand --quiet 'Print nothing when the token is stale: the exit status says it'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;fence;delete'= {
            cand --sequencer 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)'
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -q 'Print nothing when the token is stale: the exit status says it'
            cand --quiet 'Print nothing when the token is stale: the exit status says it'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;fence;run'= {
            cand --state 'The file that remembers the newest token; FILE.lock and FILE.new beside it are used as well'
            cand --token 'The token: its number, or the whole sequencer, which also says of which cluster it is (default: $LEASEHOLD_SEQUENCER, else $LEASEHOLD_TOKEN)'
            cand -w 'Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)'
            cand --wait 'Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)'
            cand -k 'Time between TERM and KILL, for an older COMMAND and for this one'
            cand --kill-after 'Time between TERM and KILL, for an older COMMAND and for this one'
            cand -c 'Run this by /bin/sh -c in place of COMMAND'
            cand --command 'Run this by /bin/sh -c in place of COMMAND'
            cand -n 'Give up at once when another COMMAND runs under FILE'
            cand --nonblock 'Give up at once when another COMMAND runs under FILE'
            cand --nb 'Give up at once when another COMMAND runs under FILE'
            cand --preempt 'Stop an older COMMAND that runs under FILE, with all its processes, rather than wait for it'
            cand -q 'Say nothing while waiting or when it gave up'
            cand --quiet 'Say nothing while waiting or when it gave up'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;once'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand list 'Show what has been done under a lock, by whom and when'
            cand forget 'Forget that it was done, so that the next run with this ID does it again'
        }
        &'leasehold;once;list'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;once;forget'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;doctor'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;config'= {
            cand -h 'Print help'
            cand --help 'Print help'
            cand show 'Show every setting, its value and where it came from'
            cand check 'Check the variables, the configuration files and the files that they name; 0, or 78 with the mistakes'
        }
        &'leasehold;config;show'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand --json 'Print one JSON object'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;config;check'= {
            cand --endpoints 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]'
            cand --local 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]'
            cand --prefix 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]'
            cand --connect-timeout 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]'
            cand --cacert 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]'
            cand --cert 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]'
            cand --key 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]'
            cand --tls-server-name 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]'
            cand --user 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]'
            cand --password-file 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]'
            cand --config 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]'
            cand -h 'Print help'
            cand --help 'Print help'
        }
        &'leasehold;completions'= {
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'leasehold;man'= {
            cand -h 'Print help'
            cand --help 'Print help'
        }
    ]
    $completions[$command]
}

use re
use path

# For each subcommand with a lock's name: the options that take the next word, and the pattern of short ones.
var leasehold-named = [
    &run=[[--also --once --slots --wait --conflict-exit-code --ttl --kill-after --kill-signal --max-runtime --lock-delay --on-leftover --on-loss --queue --hold-min --once-keep --record --metrics-file --reason --report --log-format --command --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-[nxsqvh]*[wEkc]$']
    &status=[[--endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
    &list=[[--endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
    &watch=[[--endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
    &history=[[--last --svg --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
    &break=[[--token --reason --endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
    &doctor=[[--endpoints --local --prefix --connect-timeout --cacert --cert --key --tls-server-name --user --password-file --config] '^-$']
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
