using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'leasehold' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'leasehold'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'leasehold' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Take the lock, run a command, give the lock back')
            [CompletionResult]::new('status', 'status', [CompletionResultType]::ParameterValue, 'Show who holds a lock and who waits for it')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Show all locks that are held, waited for, or left by somebody who vanished')
            [CompletionResult]::new('watch', 'watch', [CompletionResultType]::ParameterValue, 'Show what happens under a lock, or under all, as it happens')
            [CompletionResult]::new('history', 'history', [CompletionResultType]::ParameterValue, 'Show who held a lock, when, for how long, and how it ended')
            [CompletionResult]::new('break', 'break', [CompletionResultType]::ParameterValue, 'Take a lock from its holder, or a place from somebody who waits')
            [CompletionResult]::new('fence', 'fence', [CompletionResultType]::ParameterValue, 'Use the fencing token: for what must not be done by a holder that is one no more')
            [CompletionResult]::new('once', 'once', [CompletionResultType]::ParameterValue, 'Show or forget what --once remembers')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Examine whether this machine can use the cluster, and which TTL fits it')
            [CompletionResult]::new('config', 'config', [CompletionResultType]::ParameterValue, 'Show every setting and where it came from, or check the configuration')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completion script of a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page')
            break
        }
        'leasehold;run' {
            [CompletionResult]::new('--also', '--also', [CompletionResultType]::ParameterName, 'Hold this lock too, in the same mode: all or none, without deadlock; can be given again')
            [CompletionResult]::new('--once', '--once', [CompletionResultType]::ParameterName, 'Do not run if a run with this ID has already succeeded under this lock')
            [CompletionResult]::new('--slots', '--slots', [CompletionResultType]::ParameterName, 'At most N holders at a time [default: one]')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Give up waiting after DUR, connecting included; 0 is -n [default: wait for ever]')
            [CompletionResult]::new('--wait', '--wait', [CompletionResultType]::ParameterName, 'Give up waiting after DUR, connecting included; 0 is -n [default: wait for ever]')
            [CompletionResult]::new('-E', '-E ', [CompletionResultType]::ParameterName, 'Exit status when it gave up because the lock was busy [default: 75]')
            [CompletionResult]::new('--conflict-exit-code', '--conflict-exit-code', [CompletionResultType]::ParameterName, 'Exit status when it gave up because the lock was busy [default: 75]')
            [CompletionResult]::new('--ttl', '--ttl', [CompletionResultType]::ParameterName, 'Lease time to live: how long a crashed host blocks others, and how long an outage is survived [default: 60s]')
            [CompletionResult]::new('-k', '-k', [CompletionResultType]::ParameterName, 'Time between TERM and KILL, taken out of the lease [default: a quarter of the TTL, at most 10s]')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Time between TERM and KILL, taken out of the lease [default: a quarter of the TTL, at most 10s]')
            [CompletionResult]::new('--kill-signal', '--kill-signal', [CompletionResultType]::ParameterName, 'The signal that asks the command to end [default: TERM]')
            [CompletionResult]::new('--max-runtime', '--max-runtime', [CompletionResultType]::ParameterName, 'Stop the command DUR after the lock was acquired [default: no limit]')
            [CompletionResult]::new('--lock-delay', '--lock-delay', [CompletionResultType]::ParameterName, 'How much longer successors wait if this holder vanishes without giving the lock back [default: 2s]')
            [CompletionResult]::new('--on-leftover', '--on-leftover', [CompletionResultType]::ParameterName, 'What to do with processes that outlive the command [default: wait]')
            [CompletionResult]::new('--on-loss', '--on-loss', [CompletionResultType]::ParameterName, 'What a lost lock does to the command [default: kill]')
            [CompletionResult]::new('--queue', '--queue', [CompletionResultType]::ParameterName, 'What becomes of waiters when a newer one comes [default: fifo]')
            [CompletionResult]::new('--hold-min', '--hold-min', [CompletionResultType]::ParameterName, 'Keep the lock at least DUR from when it was acquired, also when the command and leasehold have ended [default: 0]')
            [CompletionResult]::new('--once-keep', '--once-keep', [CompletionResultType]::ParameterName, 'How long --once remembers [default: 30d]')
            [CompletionResult]::new('--record', '--record', [CompletionResultType]::ParameterName, 'Remember in etcd how the last run of each lock ended, for status and history [default: false]')
            [CompletionResult]::new('--metrics-file', '--metrics-file', [CompletionResultType]::ParameterName, 'Write metrics to FILE for node_exporter''s textfile collector, or into a folder, one file for each lock')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Shown to waiters and in status')
            [CompletionResult]::new('--report', '--report', [CompletionResultType]::ParameterName, 'Write the outcome to FILE as one JSON object')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'How messages on stderr are written')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Run this by /bin/sh -c in place of COMMAND')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Run this by /bin/sh -c in place of COMMAND')
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Give up at once when the lock is busy')
            [CompletionResult]::new('--nonblock', '--nonblock', [CompletionResultType]::ParameterName, 'Give up at once when the lock is busy')
            [CompletionResult]::new('--nb', '--nb', [CompletionResultType]::ParameterName, 'Give up at once when the lock is busy')
            [CompletionResult]::new('-x', '-x', [CompletionResultType]::ParameterName, 'One holder at a time (this is the default)')
            [CompletionResult]::new('--exclusive', '--exclusive', [CompletionResultType]::ParameterName, 'One holder at a time (this is the default)')
            [CompletionResult]::new('-s', '-s', [CompletionResultType]::ParameterName, 'Share the lock with all others who share it: a reader beside readers')
            [CompletionResult]::new('--shared', '--shared', [CompletionResultType]::ParameterName, 'Share the lock with all others who share it: a reader beside readers')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Say nothing while waiting or when the lock is busy')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Say nothing while waiting or when the lock is busy')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'leasehold;status' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print nothing; the exit status says it: 0 free, 75 held')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print nothing; the exit status says it: 0 free, 75 held')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;list' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line and lock, as status --json')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;watch' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object per line and event, also on a terminal')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;history' {
            [CompletionResult]::new('--last', '--last', [CompletionResultType]::ParameterName, 'Show so many runs, the last ones [default: 20, with --json all]')
            [CompletionResult]::new('--svg', '--svg', [CompletionResultType]::ParameterName, 'Draw that into FILE, as SVG')
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--timeline', '--timeline', [CompletionResultType]::ParameterName, 'Draw who waited and who held it when')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;break' {
            [CompletionResult]::new('--token', '--token', [CompletionResultType]::ParameterName, 'Whom to take it from: the token that status shows, of the holder or of somebody in the queue')
            [CompletionResult]::new('--reason', '--reason', [CompletionResultType]::ParameterName, 'Why: the holder''s messages and report say it')
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--force', '--force', [CompletionResultType]::ParameterName, 'Revoke without asking')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;fence' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Is this token still that of a running holder? 0 current, 79 stale')
            [CompletionResult]::new('put', 'put', [CompletionResultType]::ParameterValue, 'Write a key in etcd, if the lock is held with this token at that moment')
            [CompletionResult]::new('delete', 'delete', [CompletionResultType]::ParameterValue, 'Delete a key in etcd, if the lock is held with this token at that moment')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Run a command on this machine, unless a newer token has been seen here')
            break
        }
        'leasehold;fence;check' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;fence;put' {
            [CompletionResult]::new('--file', '--file', [CompletionResultType]::ParameterName, 'Read the value from FILE')
            [CompletionResult]::new('--sequencer', '--sequencer', [CompletionResultType]::ParameterName, 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)')
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;fence;delete' {
            [CompletionResult]::new('--sequencer', '--sequencer', [CompletionResultType]::ParameterName, 'Whose token it is (default: $LEASEHOLD_SEQUENCER, which leasehold run gives to its command)')
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print nothing when the token is stale: the exit status says it')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;fence;run' {
            [CompletionResult]::new('--state', '--state', [CompletionResultType]::ParameterName, 'The file that remembers the newest token; FILE.lock and FILE.new beside it are used as well')
            [CompletionResult]::new('--token', '--token', [CompletionResultType]::ParameterName, 'The token: its number, or the whole sequencer, which also says of which cluster it is (default: $LEASEHOLD_SEQUENCER, else $LEASEHOLD_TOKEN)')
            [CompletionResult]::new('-w', '-w', [CompletionResultType]::ParameterName, 'Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)')
            [CompletionResult]::new('--wait', '--wait', [CompletionResultType]::ParameterName, 'Give up after DUR when another COMMAND runs under FILE; 0 is -n (default: wait for ever)')
            [CompletionResult]::new('-k', '-k', [CompletionResultType]::ParameterName, 'Time between TERM and KILL, for an older COMMAND and for this one')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Time between TERM and KILL, for an older COMMAND and for this one')
            [CompletionResult]::new('-c', '-c', [CompletionResultType]::ParameterName, 'Run this by /bin/sh -c in place of COMMAND')
            [CompletionResult]::new('--command', '--command', [CompletionResultType]::ParameterName, 'Run this by /bin/sh -c in place of COMMAND')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Give up at once when another COMMAND runs under FILE')
            [CompletionResult]::new('--nonblock', '--nonblock', [CompletionResultType]::ParameterName, 'Give up at once when another COMMAND runs under FILE')
            [CompletionResult]::new('--nb', '--nb', [CompletionResultType]::ParameterName, 'Give up at once when another COMMAND runs under FILE')
            [CompletionResult]::new('--preempt', '--preempt', [CompletionResultType]::ParameterName, 'Stop an older COMMAND that runs under FILE, with all its processes, rather than wait for it')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Say nothing while waiting or when it gave up')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Say nothing while waiting or when it gave up')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;once' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'Show what has been done under a lock, by whom and when')
            [CompletionResult]::new('forget', 'forget', [CompletionResultType]::ParameterValue, 'Forget that it was done, so that the next run with this ID does it again')
            break
        }
        'leasehold;once;list' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;once;forget' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;doctor' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;config' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Show every setting, its value and where it came from')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Check the variables, the configuration files and the files that they name; 0, or 78 with the mistakes')
            break
        }
        'leasehold;config;show' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print one JSON object')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;config;check' {
            [CompletionResult]::new('--endpoints', '--endpoints', [CompletionResultType]::ParameterName, 'The etcd members; https:// before one, or a certificate file, means TLS [default: 127.0.0.1:2379] [env: LEASEHOLD_ENDPOINTS]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'Keep the lock in a folder of this machine, without etcd; without =DIR in /var/lib/leasehold for root, in ~/.local/state/leasehold for others [default: in etcd] [env: LEASEHOLD_LOCAL]')
            [CompletionResult]::new('--prefix', '--prefix', [CompletionResultType]::ParameterName, 'What every key begins with [default: /leasehold/] [env: LEASEHOLD_PREFIX]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long to look for a working etcd before giving up [default: 10s] [env: LEASEHOLD_CONNECT_TIMEOUT]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust members whose certificate one of these authorities signed (PEM) [default: the system''s authorities] [env: LEASEHOLD_CACERT]')
            [CompletionResult]::new('--cert', '--cert', [CompletionResultType]::ParameterName, 'Our own certificate (PEM); needs --key [env: LEASEHOLD_CERT]')
            [CompletionResult]::new('--key', '--key', [CompletionResultType]::ParameterName, 'The private key of our certificate (PEM) [env: LEASEHOLD_KEY]')
            [CompletionResult]::new('--tls-server-name', '--tls-server-name', [CompletionResultType]::ParameterName, 'The name that the members'' certificates have to be for [default: the host of each endpoint] [env: LEASEHOLD_TLS_SERVER_NAME]')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Log in to etcd; a password given here can be read by everybody on this machine, and one given nowhere is asked for [env: LEASEHOLD_USER]')
            [CompletionResult]::new('--password-file', '--password-file', [CompletionResultType]::ParameterName, 'The password is the first line of FILE [env: LEASEHOLD_PASSWORD_FILE]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read settings from FILE [default: leasehold/config.toml in ~/.config, then in /etc] [env: LEASEHOLD_CONFIG]')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
        'leasehold;completions' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'leasehold;man' {
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
