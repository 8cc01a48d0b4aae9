#!/usr/bin/env bash
# The figures of the README: `make bench`, or benches/run.sh FOLDER-WITH-RELEASE-BINARIES
#
# - a whole uncontended run of `true`: leasehold against etcdctl lock and flock, on loopback and with 10 ms of
#   round trip put in between by a proxy;
# - resident memory of a waiter: PSS of all its processes, so that shared pages count once.
#
# Prints a table in Markdown. RUNS sets how often each command is run.
set -euo pipefail

binaries=${1:?usage: benches/run.sh FOLDER-WITH-RELEASE-BINARIES}
leasehold=$binaries/leasehold
probe=$binaries/examples/probe
runs=${RUNS:-100}
round_trip_ms=10
folder=$(mktemp -d -t leasehold-bench.XXXXXX)
address=127.$((64 + ($$ >> 16) % 64)).$((($$ >> 8) & 255)).$(($$ & 255))
near=$address:2379
far=$address:2378
started=()

clean_up() {
    # Only what this script started, by its pid, the last first.
    local index
    for ((index = ${#started[@]} - 1; index >= 0; index--)); do
        kill "${started[index]}" 2>/dev/null && wait "${started[index]}" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

export ETCDCTL_API=3

start_etcd() {
    etcd --name bench --data-dir "$folder/data" --log-level warn \
        --listen-client-urls "http://$near" --advertise-client-urls "http://$near" \
        --listen-peer-urls "http://$address:2380" --initial-advertise-peer-urls "http://$address:2380" \
        --initial-cluster "bench=http://$address:2380" >"$folder/etcd.log" 2>&1 &
    started+=($!)
    local tries=100
    until etcdctl --endpoints "$near" get ready? >/dev/null 2>&1; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then cat "$folder/etcd.log" >&2; exit 1; fi
        sleep 0.1
    done
}

start_proxy() {
    mkfifo "$folder/proxy"
    "$probe" proxy "$far" "$near" $((round_trip_ms / 2)) >"$folder/proxy" &
    started+=($!)
    read -r <"$folder/proxy"
}

# Median in milliseconds of the command given.
median_ms() {
    hyperfine --shell=none --style=none --warmup 5 --runs "$runs" --export-json "$folder/result" "$1" >/dev/null
    # One command, so one "median" in the file; seconds with a decimal point.
    sed -n 's/.*"median": *\([0-9.e-]*\).*/\1/p' "$folder/result" | awk '{ printf "%.1f", $1 * 1000 }'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }

# kB of PSS of all processes with this entry in their environment.
pss_of() {
    local process sum=0 count=0 pss
    for process in /proc/[0-9]*; do
        if { tr '\0' '\n' <"$process/environ" | grep -qxF "$1"; } 2>/dev/null; then
            pss=$(awk '/^Pss:/ { print $2 }' "$process/smaps_rollup" 2>/dev/null || true)
            sum=$((sum + ${pss:-0}))
            count=$((count + 1))
        fi
    done
    echo "$sum $count"
}

# Waits until COUNT entries stand in the queue of the lock.
wait_for_queue() {
    local tries=100
    until [ "$(etcdctl --endpoints "$near" get --prefix --keys-only "$1" | grep -c .)" -ge "$2" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "nobody waits for $1" >&2; exit 1; }
        sleep 0.1
    done
}

measure_runs() {
    local ours theirs
    ours=$(median_ms "$leasehold run --endpoints $near bench -- true")
    theirs=$(median_ms "etcdctl --endpoints $near lock bench-etcdctl true")
    local flock
    flock=$(median_ms "flock $folder/flock true")
    local ours_far theirs_far
    ours_far=$(median_ms "$leasehold run --endpoints $far bench -- true")
    theirs_far=$(median_ms "etcdctl --endpoints $far lock bench-etcdctl true")
    cat <<TABLE
| a whole uncontended run of \`true\` (median of $runs) | leasehold | etcdctl lock | flock |
|---|---|---|---|
| etcd on loopback | $ours ms | $theirs ms ($(ratio "$theirs" "$ours") times as long) | $flock ms |
| $round_trip_ms ms of round trip in between | $ours_far ms ($(ratio "$ours_far" "$round_trip_ms") round trips) | $theirs_far ms ($(ratio "$theirs_far" "$round_trip_ms") round trips) | |
TABLE
}

measure_waiters() {
    # The holder: an entry that stays until somebody removes it.
    etcdctl --endpoints "$near" put /leasehold/waiting/1 holder >/dev/null
    BENCH_WAITER=ours-$$ "$leasehold" run --endpoints "$near" -q waiting -- true &
    started+=($!)
    wait_for_queue /leasehold/waiting/ 2
    BENCH_WAITER=theirs-$$ etcdctl --endpoints "$near" lock /leasehold/waiting true >/dev/null 2>&1 &
    started+=($!)
    wait_for_queue /leasehold/waiting/ 3
    # Both have renewed their lease once or read their queue again by then.
    sleep 5
    local ours theirs our_processes their_processes
    read -r ours our_processes < <(pss_of "BENCH_WAITER=ours-$$")
    read -r theirs their_processes < <(pss_of "BENCH_WAITER=theirs-$$")
    cat <<TABLE

| memory of a waiter (PSS) | leasehold | etcdctl lock |
|---|---|---|
| all its processes ($our_processes and $their_processes) | $(ratio "$ours" 1024) MB | $(ratio "$theirs" 1024) MB ($(ratio "$theirs" "$ours") times as much) |
TABLE
}

start_etcd
start_proxy
echo "$("$leasehold" --version), $(etcd --version | head -1), $(nproc) cores, $(uname -sr)"
echo
measure_runs
measure_waiters
