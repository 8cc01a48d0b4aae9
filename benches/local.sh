#!/usr/bin/env bash
# The figures of docs/local.md: `make bench-local`, or benches/local.sh LEASEHOLD
#
# `true` under a lock of one machine, alone and by fifty contenders at once, beside flock(1): the median of RUNS runs by
# hyperfine, on the file system of TMPDIR.
set -euo pipefail

leasehold=${1:?usage: benches/local.sh LEASEHOLD}
runs=${RUNS:-60}
contenders=${CONTENDERS:-50}
folder=$(mktemp -d -t leasehold-bench.XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM

at_once() { echo "for i in \$(seq $contenders); do $1 & done; wait"; }

flock="flock $folder/lock true"
local="$leasehold run -q --local=$folder/locks job -- true"

# Median and slowest in milliseconds of the command given; more arguments are hyperfine's.
measure() {
    hyperfine --style=none --export-json "$folder/result" "$@" >/dev/null
    local of
    for of in median max; do
        sed -n "s/.*\"$of\": *\([0-9.e-]*\).*/\1/p" "$folder/result" | awk '{ printf " %.1f ms |", $1 * 1000 }'
    done
}

alone=(--shell=none --warmup 5 --runs "$runs")
crowd=(--warmup 1 --runs "$(((runs + 2) / 3))")
printf '| what | median | slowest |\n|---|---|---|\n'
printf '| `flock FILE true` |%s\n' "$(measure "${alone[@]}" "$flock")"
printf '| `leasehold run --local job -- true` |%s\n' "$(measure "${alone[@]}" "$local")"
printf '| the former, %s at once |%s\n' "$contenders" "$(measure "${crowd[@]}" "$(at_once "$flock")")"
printf '| the latter, %s at once |%s\n' "$contenders" "$(measure "${crowd[@]}" "$(at_once "$local")")"
