#!/bin/sh
# An object in S3, or in a store that speaks like it, by conditional writes (PutObject with If-Match or
# If-None-Match; Amazon has them since November 2024). A "412 Precondition Failed" means that somebody else
# wrote since we read; "409 Conflict" that somebody else is writing at this moment.
#
# S3's ETag is made of the content alone, so metadata would not do for the token: it and a random word stand in
# the content. Else an object that is written back to what it was (A, B, A) would let a delayed write in.
#
#   s3.sh write VALUE    run it inside `leasehold run`; $OBJECT is its URL, $AWS_ACCESS_KEY_ID and
#                        $AWS_SECRET_ACCESS_KEY say who we are, $AWS_REGION where
#   s3.sh read
set -eu
URL=${OBJECT:?the URL of the object, as https://BUCKET.s3.REGION.amazonaws.com/KEY}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Sends what is in the file $1. The secret goes through a pipe, since anybody on this machine can read arguments (ps).
# S3 insists on the sum of what is sent, which older versions of curl do not add by themselves.
request() {
    sum=$(sha256sum <"$1")
    shift
    printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
        curl --config - -sS -D "$folder/headers" -w '%{http_code}' \
            -H 'Content-Type: application/octet-stream' -H "x-amz-content-sha256: ${sum%% *}" \
            --aws-sigv4 "aws:amz:${AWS_REGION:-us-east-1}:s3" "$@" "$URL"
}

# Leaves the content in $folder/content and the condition under which it may be replaced in $condition. There must
# be one: curl leaves an empty header out, and the PUT would have no condition at all; a weak ETag never matches.
get() {
    case $(request /dev/null -o "$folder/content") in
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
    request "$folder/new" -o "$folder/answer" -X PUT -H "$condition" --data-binary "@$folder/new"
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
    setup) URL=${URL%/*} && request /dev/null -o /dev/null -X PUT >/dev/null ;;
    write) write "$2" ;;
    read) get && sed 1d "$folder/content" ;;
esac
