#!/bin/sh
# PostgreSQL, by the writer: every UPDATE carries the token, and changes nothing when a newer one was there.
# The row itself remembers the newest token. Good where you own every statement; postgresql-trigger.sh is for
# where you do not.
#
#   postgresql-update.sh setup
#   postgresql-update.sh write VALUE    run it inside `leasehold run`; $PGHOST and friends say where
#   postgresql-update.sh read
set -eu

sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"
}

case $1 in
    setup)
        sql <<'SQL'
CREATE TABLE report (
    id    integer PRIMARY KEY,
    body  text   NOT NULL,
    token bigint NOT NULL DEFAULT 0  -- the newest fencing token that wrote this row
);
INSERT INTO report VALUES (1, 'nothing yet');
SQL
        ;;
    write)
        changed=$(sql --set token="$LEASEHOLD_TOKEN" --set body="$2" <<'SQL'
UPDATE report SET body = :'body', token = :token
WHERE id = 1 AND token <= :token
RETURNING id;
SQL
        )
        if [ -z "$changed" ]; then
            echo "stale: a holder with a newer token than $LEASEHOLD_TOKEN has written" >&2
            exit 79
        fi
        ;;
    read) sql --command 'SELECT body FROM report WHERE id = 1' ;;
esac
