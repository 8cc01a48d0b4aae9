#!/usr/bin/env bash
# The faults of docs/faults.md: runs the tests that show them, and prints a line for each.
#
#   scripts/chaos.sh run 3.4|3.5     runs all of them against that etcd, then prints the table
#   scripts/chaos.sh begin           makes room for new lines
#   scripts/chaos.sh table           prints the lines that tests have left since; a fault without one fails
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
lines="$(realpath -m "$target")/chaos"

# The first and the last column of the tables.
rows() { sed -nE 's/^\| (.*) \| .* \| `([a-z_:]+)` \|$/\1\t\2/p' docs/faults.md; }

begin() { rm -rf "$lines" && mkdir -p "$lines"; }

table() {
    local fault test missing=0
    echo
    while IFS=$'\t' read -r fault test; do
        cat "$lines/${fault//[ \/]/-}" 2>/dev/null || {
            echo "$fault | not seen: $test did not run to its end"
            missing=1
        }
    done < <(rows)
    return "$missing"
}

run() {
    local version=$1 status=0
    case $version in
        3.4) ;;
        3.5)
            local own
            own="$(realpath -m "$target")/etcd-3.5"
            export LEASEHOLD_TEST_ETCD="$own/etcd" LEASEHOLD_TEST_ETCDCTL="$own/etcdctl"
            ;;
        *) usage ;;
    esac
    begin
    echo "chaos: $("${LEASEHOLD_TEST_ETCD:-etcd}" --version | head -1)"
    LEASEHOLD_TEST_FAULTS="$lines" cargo nextest run --locked --no-fail-fast \
        -E "binary(it) and ($(rows | cut -f2 | sort -u | sed 's/.*/test(=&)/' | paste -sd'+'))" || status=$?
    table || status=1
    return "$status"
}

usage() {
    sed -n 's/^#   //p' "$0" >&2
    exit 64
}

case ${1:-} in
    begin | table) "$1" ;;
    run) run "${2:-}" ;;
    *) usage ;;
esac
