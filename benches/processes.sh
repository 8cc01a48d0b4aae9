#!/usr/bin/env bash
# The figures of docs/processes.md: `make bench-processes`, or benches/processes.sh FOLDER-WITH-RELEASE-BINARIES
#
# Starts an etcd of its own and has benches/processes/ measure. ROUNDS sets how often each fault strikes. The machine
# should have nothing else to do: the load is printed.
set -euo pipefail

binaries=${1:?usage: benches/processes.sh FOLDER-WITH-RELEASE-BINARIES}
folder=$(mktemp -d -t leasehold-bench.XXXXXX)
address=127.$((64 + ($$ >> 16) % 64)).$((($$ >> 8) & 255)).$(($$ & 255))
endpoint=$address:2379

etcd --name bench --data-dir "$folder/data" --log-level warn \
    --listen-client-urls "http://$endpoint" --advertise-client-urls "http://$endpoint" \
    --listen-peer-urls "http://$address:2380" --initial-advertise-peer-urls "http://$address:2380" \
    --initial-cluster "bench=http://$address:2380" >"$folder/etcd.log" 2>&1 &
etcd=$!
trap 'kill "$etcd" && wait "$etcd" || true; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

tries=100
until ETCDCTL_API=3 etcdctl --endpoints "$endpoint" get ready? >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ "$tries" -eq 0 ]; then cat "$folder/etcd.log" >&2; exit 1; fi
    sleep 0.1
done

echo "$("$binaries/leasehold" --version), $(etcd --version | head -1), $(nproc) cores, $(uname -sr), load $(cut -d' ' -f1 /proc/loadavg)"
echo
"$binaries/examples/measure" "$binaries/leasehold" "$binaries/examples/probe" "$endpoint" "${ROUNDS:-40}"
