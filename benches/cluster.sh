#!/usr/bin/env bash
# The figures of docs/etcd.md: `make bench-cluster`, or benches/cluster.sh FOLDER-WITH-RELEASE-BINARIES
#
# A whole uncontended run of `true` with the endpoints of three members, the first of which is in trouble: dead
# (nobody listens), frozen (SIGSTOP), unreachable (SYN is swallowed), without a vote (a learner), slow (a proxy that
# answers after six seconds).
#
# Prints a table in Markdown. RUNS sets how often the command is run with each.
set -euo pipefail

binaries=${1:?usage: benches/cluster.sh FOLDER-WITH-RELEASE-BINARIES}
leasehold=$binaries/leasehold
probe=$binaries/examples/probe
runs=${RUNS:-50}
slow_ms=3000
folder=$(mktemp -d -t leasehold-bench.XXXXXX)
address=127.$((64 + ($$ >> 16) % 64)).$((($$ >> 8) & 255)).$(($$ & 255))
started=()

clean_up() {
    # Only what this script started, by its pid, the last first.
    local index
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do
        # A stopped one hears of it when it goes on.
        { kill "${started[index]}" && kill -CONT "${started[index]}" && wait "${started[index]}"; } 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

export ETCDCTL_API=3

client() { echo "$address:237$1"; }
peer() { echo "m$1=http://$address:238$1"; }

# start_etcd NUMBER new|existing PEERS
start_etcd() {
    etcd --name "m$1" --data-dir "$folder/$1" --log-level error \
        --listen-client-urls "http://$(client "$1")" --advertise-client-urls "http://$(client "$1")" \
        --listen-peer-urls "http://$address:238$1" --initial-advertise-peer-urls "http://$address:238$1" \
        --initial-cluster "$3" --initial-cluster-state "$2" >"$folder/$1.log" 2>&1 &
    started+=($!)
}

# Waits until the command succeeds.
wait_for() {
    local tries=200
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "in vain: $*" >&2; exit 1; }
        sleep 0.1
    done
}

wait_for_members() {
    local number
    for number in "$@"; do wait_for etcdctl --endpoints "$(client "$number")" get ready?; done
}

# Median and largest of the runs, in milliseconds.
measure() {
    hyperfine --shell=none --style=none --warmup 3 --runs "$runs" --export-json "$folder/result" \
        "$leasehold run --endpoints $2,$(client 2),$(client 3) bench -- true" >/dev/null 2>&1
    figure() { sed -n "s/.*\"$1\": *\([0-9.e-]*\).*/\1/p" "$folder/result" | awk '{ printf "%.0f", $1 * 1000 }'; }
    echo "| $1 | $(figure median) ms | $(figure max) ms | $runs |"
}

# start_probe WORDS...: a helper that says a line when it is ready.
start_probe() {
    rm -f "$folder/ready"
    mkfifo "$folder/ready"
    "$probe" "$@" >"$folder/ready" &
    started+=($!)
    read -r <"$folder/ready"
}

echo "$("$leasehold" --version), three of $(etcd --version | head -1), $(nproc) cores, $(uname -sr), load $(cut -d' ' -f1 /proc/loadavg)"
echo
peers=$(peer 1),$(peer 2),$(peer 3)
for number in 1 2 3; do start_etcd "$number" new "$peers"; done
first=${started[0]}
wait_for_members 1 2 3
start_probe proxy "$(client 8)" "$(client 1)" "$slow_ms"
start_probe unreachable "$(client 9)"

cat <<TABLE
| the first of three members is | median | slowest | runs |
|---|---|---|---|
TABLE
measure "well" "$(client 1)"
measure "unreachable: SYN is swallowed" "$(client 9)"
measure "slow: it answers after $((2 * slow_ms / 1000)) s" "$(client 8)"
kill -STOP "$first"
wait_for_members 2 3
measure "frozen" "$(client 1)"
kill -CONT "$first"
kill "$first"
wait "$first" || true
wait_for_members 2 3
measure "dead" "$(client 1)"
etcdctl --endpoints "$(client 2)" member remove "$(etcdctl --endpoints "$(client 2)" member list | sed -n 's/,.* m1,.*//p')" >/dev/null
wait_for_members 2 3
wait_for etcdctl --endpoints "$(client 2)" member add m4 --learner --peer-urls "http://$address:2384"
start_etcd 4 existing "$(peer 2),$(peer 3),$(peer 4)"
wait_for etcdctl --endpoints "$(client 4)" endpoint status
measure "without a vote: a learner" "$(client 4)"
