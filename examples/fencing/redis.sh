#!/bin/sh
# Redis: a script compares and writes in one step, since Redis runs one script at a time.
#
# The token stands in the same hash as the value, so both are replicated and persisted together. That does not
# help when a failover loses the last writes: Redis then forgets the newest token too (WAIT and appendfsync
# always make it rarer, not impossible).
#
#   redis.sh write VALUE    run it inside `leasehold run`; $REDIS_HOST and $REDIS_PORT say where, redis-cli takes
#                           the password from $REDISCLI_AUTH
#   redis.sh read
set -eu
KEY=${KEY:-app:state}

# No password among the arguments, which anybody on this machine can read (ps): so no URL.
redis() {
    redis-cli -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}" "$@"
}

# Lua counts in floating point: above 2^53 two tokens could look alike. So they are compared as text, the
# shorter one first; neither has leading zeros.
FENCED_SET='
local seen, token = redis.call("HGET", KEYS[1], "token") or "0", ARGV[1]
if #token < #seen or (#token == #seen and token < seen) then
    return redis.error_reply("STALE token " .. token .. ", " .. seen .. " has been seen")
end
redis.call("HSET", KEYS[1], "token", token, "value", ARGV[2])
return "OK"'

case $1 in
    setup) ;;
    write)
        # -x: the last argument comes from stdin.
        answer=$(printf %s "$2" | redis -x eval "$FENCED_SET" 1 "$KEY" "$LEASEHOLD_TOKEN")
        case $answer in
            OK) ;;
            *STALE*) echo "$answer" >&2; exit 79 ;;
            *) echo "$answer" >&2; exit 1 ;;
        esac
        ;;
    read) redis hget "$KEY" value ;;
esac
