#!/bin/sh
# A plain file on one machine: `fence run` is the gate. FILE.fence remembers the newest token, durably, and
# lets one writer in at a time. Over ssh the same line protects the machine that is deployed to:
#   ssh target leasehold fence run --state /var/lib/app.fence --token "$LEASEHOLD_SEQUENCER" -- /opt/deploy
#
#   file.sh write VALUE    run it inside `leasehold run`
#   file.sh read
set -eu
FILE=${FILE:-state.txt}

case $1 in
    setup) ;;
    write)
        # Written beside it and renamed, so that nobody reads half of it.
        exec leasehold fence run --state "$FILE.fence" -- \
            sh -c 'printf "%s\n" "$2" >"$1.new" && mv "$1.new" "$1"' sh "$FILE" "$2"
        ;;
    read) cat "$FILE" ;;
esac
