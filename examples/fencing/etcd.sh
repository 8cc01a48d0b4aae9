#!/bin/sh
# A fenced key in etcd itself: the transaction is guarded by the lock's own key, so a holder that lost the
# lock cannot write, not even before its successor did.
#
#   etcd.sh write VALUE    run it inside `leasehold run`
#   etcd.sh read
set -eu
KEY=${KEY:-app/state}

case $1 in
    setup) ;;
    write) exec leasehold fence put -- "$KEY" "$2" ;; # whatever they begin with
    read)
        ETCDCTL_API=3 ETCDCTL_ENDPOINTS=${ETCDCTL_ENDPOINTS:-$LEASEHOLD_ENDPOINTS} \
            etcdctl get --print-value-only "$KEY"
        ;;
esac
