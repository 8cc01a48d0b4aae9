#!/bin/sh
# PostgreSQL, by the database: a trigger refuses every statement of a stale holder, whatever program sent it.
#
# The newest token stands in one row of its own. A transaction locks that row with its first write and keeps it
# until it commits: so all that the transaction does is fenced, in any number of tables, and a newer holder
# waits for an older transaction that is already being committed. Deferring the check to COMMIT would not be
# better: the lock is held from the first write on, and nobody with a newer token can come in between.
#
#   postgresql-trigger.sh setup
#   postgresql-trigger.sh write VALUE    run it inside `leasehold run`; $PGHOST and friends say where
#   postgresql-trigger.sh read
set -eu

sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"
}

case $1 in
    setup)
        sql <<'SQL'
CREATE TABLE ledger (id integer PRIMARY KEY, body text NOT NULL);
INSERT INTO ledger VALUES (1, 'nothing yet');

-- One row for each lock.
CREATE TABLE fence (lock text PRIMARY KEY, token bigint NOT NULL);

CREATE FUNCTION check_fence() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- NULL where the client did not say: a writer without a token is refused as well.
    mine bigint := nullif(current_setting('leasehold.token', true), '')::bigint;
BEGIN
    INSERT INTO fence VALUES (TG_ARGV[0], mine)
        ON CONFLICT (lock) DO UPDATE SET token = excluded.token WHERE fence.token <= excluded.token;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'stale fencing token %', mine USING ERRCODE = 'LH079';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER fenced BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION check_fence('nightly-report');
SQL
        ;;
    write)
        # Every program that uses libpq takes it from here, unchanged.
        export PGOPTIONS="${PGOPTIONS:-} -c leasehold.token=$LEASEHOLD_TOKEN"
        if ! error=$(sql --set body="$2" --set VERBOSITY=verbose 2>&1 <<'SQL'
UPDATE ledger SET body = :'body' WHERE id = 1;
SQL
        ); then
            echo "$error" >&2
            case $error in
                *LH079*) exit 79 ;;
                *) exit 1 ;;
            esac
        fi
        ;;
    read) sql --command 'SELECT body FROM ledger WHERE id = 1' ;;
esac
