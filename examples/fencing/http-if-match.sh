#!/bin/sh
# A resource behind HTTP: the server compares ETags (If-Match, 412), and the token stands in the resource.
#
# The ETag binds the comparison to the write: if anybody writes between our reading and our writing, the ETag
# is another one and the server says 412. So the server need not know of tokens. Two things are needed of it:
# the check and the write must be one step (Apache's mod_dav: one worker), and its ETags must be strong and
# change with the content (Apache: FileETag Digest, since one made of the time is weak for a second).
# The token and a random word are part of the content, so that no content ever comes back (A, B, A).
#
#   http-if-match.sh write VALUE    run it inside `leasehold run`; $URL says where
#   http-if-match.sh read
set -eu
URL=${URL:-http://127.0.0.1:8080/state}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

request() {
    curl -sS -D "$folder/headers" -w '%{http_code}' "$@" "$URL"
}

# Leaves the content in $folder/content and the condition under which it may be replaced in $condition. There must
# be one: curl leaves an empty header out, and the PUT would have no condition at all; a weak ETag never matches.
get() {
    case $(request -o "$folder/content") in
        200) etag=$(sed -n 's/\r$//; s/^etag: *//Ip' "$folder/headers") ;;
        404) condition='If-None-Match: *' && : >"$folder/content" && return ;;
        *) echo "$URL cannot be read" >&2 && exit 1 ;;
    esac
    case $etag in
        '' | W/*) echo "$URL has no strong ETag (${etag:-none at all}): it cannot be fenced" >&2 && exit 1 ;;
        *) condition="If-Match: $etag" ;;
    esac
}

# Refuses where the first line, "token N", has a newer one than ours.
check() {
    seen=$(sed -n '1s/^token \([0-9]*\) .*/\1/p' "$folder/content")
    # What cannot be compared is refused as well, so this asks for what is good.
    if ! [ "$LEASEHOLD_TOKEN" -ge "${seen:-0}" ]; then
        echo "stale: token $seen has been seen, ours is $LEASEHOLD_TOKEN" >&2
        exit 79
    fi
}

put() {
    word=$(od -An -N8 -tx1 /dev/urandom | tr -d ' ')
    printf 'token %s %s\n%s\n' "$LEASEHOLD_TOKEN" "$word" "$1" >"$folder/new"
    request -o "$folder/answer" -X PUT -H "$condition" --data-binary "@$folder/new"
}

write() {
    for attempt in 1 2 3 4 5; do
        get
        check
        ${BEFORE_WRITE:-:} # a test pauses us here, as the network or the scheduler might
        case $(put "$1") in
            200 | 201 | 204) exit 0 ;;
            409 | 412) echo "attempt $attempt: 412, somebody else has written; looking again" >&2 ;;
            *) cat "$folder/answer" >&2 && exit 1 ;;
        esac
    done
    exit 1
}

case $1 in
    setup) ;;
    write) write "$2" ;;
    read) get && sed 1d "$folder/content" ;;
esac
