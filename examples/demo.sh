#!/usr/bin/env bash
# Two contenders for one lock, on a throw-away etcd: the second waits, says who holds the lock, then gets it
# with a larger token. Run it with `make demo`, or: examples/demo.sh PATH-TO-LEASEHOLD
set -euo pipefail

leasehold=${1:?usage: examples/demo.sh PATH-TO-LEASEHOLD}
folder=$(mktemp -d -t leasehold-demo.XXXXXX)
etcd_pid=
first_pid=

clean_up() {
    # Only what this script started, by its pid. leasehold ends its command and gives the lock back.
    if [ -n "$first_pid" ]; then kill "$first_pid" 2>/dev/null && wait "$first_pid" || true; fi
    if [ -n "$etcd_pid" ]; then kill "$etcd_pid" 2>/dev/null && wait "$etcd_pid" || true; fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# An address in 127.0.0.0/8 made of this shell's pid: its ports are free whatever else runs on this machine.
start_etcd() {
    local address=127.$((64 + ($$ >> 16) % 64)).$((($$ >> 8) & 255)).$(($$ & 255))
    export LEASEHOLD_ENDPOINTS=$address:2379 ETCDCTL_API=3
    etcd --name demo --data-dir "$folder/data" --log-level warn \
        --listen-client-urls "http://$address:2379" --advertise-client-urls "http://$address:2379" \
        --listen-peer-urls "http://$address:2380" --initial-advertise-peer-urls "http://$address:2380" \
        --initial-cluster "demo=http://$address:2380" >"$folder/etcd.log" 2>&1 &
    etcd_pid=$!
    local tries=100
    until etcdctl --endpoints "$LEASEHOLD_ENDPOINTS" get ready? >"$folder/ready" 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! kill -0 "$etcd_pid" 2>/dev/null; then
            cat "$folder/etcd.log" "$folder/ready" >&2
            exit 1
        fi
        sleep 0.1
    done
}

job='echo "$0: running with token $LEASEHOLD_TOKEN"; sleep 3; echo "$0: done"'

step 'etcd is started on a free loopback address'
start_etcd
echo "LEASEHOLD_ENDPOINTS=$LEASEHOLD_ENDPOINTS"

step '$ leasehold run --reason "release 4.2" deploy/prod -- JOB &          # the first contender'
mkfifo "$folder/running"
"$leasehold" run --reason 'release 4.2' deploy/prod -- sh -c "echo >$folder/running; $job" first &
first_pid=$!
read -r <"$folder/running"

step '$ leasehold status deploy/prod'
"$leasehold" status deploy/prod

step '$ leasehold run -n deploy/prod -- JOB                                # will not wait: exit status 75'
"$leasehold" run -n deploy/prod -- sh -c "$job" impatient || echo "exit status $?"

step '$ leasehold run deploy/prod -- JOB                                   # the second contender waits'
"$leasehold" run deploy/prod -- sh -c "$job" second
wait "$first_pid"
first_pid=

step '$ leasehold status deploy/prod'
"$leasehold" status deploy/prod
