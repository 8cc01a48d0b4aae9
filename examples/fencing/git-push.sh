#!/bin/sh
# A git repository: its pre-receive hook (git-pre-receive, beside this script) lets a push in only together with
# a token that is not older than any before.
#
# The tokens stand in a chain of empty commits, refs/fencing/token, and every push adds one to it, atomically
# with what it is about. So two pushes at a time cannot both be in: the second one finds that the chain has
# moved, and git refuses it as a whole (--atomic).
#
#   git-push.sh setup          makes the bare repository $REPOSITORY, with the hook
#   git-push.sh write VALUE    run it inside `leasehold run`
#   git-push.sh read
set -eu
REPOSITORY=${REPOSITORY:?the repository, as git push takes it}
# Nothing of the user's own configuration is needed.
export GIT_AUTHOR_NAME=deploy GIT_AUTHOR_EMAIL=deploy@localhost
export GIT_COMMITTER_NAME=deploy GIT_COMMITTER_EMAIL=deploy@localhost

setup() {
    git init --quiet --bare --initial-branch=main "$REPOSITORY"
    cp "$(dirname "$0")/git-pre-receive" "$REPOSITORY/hooks/pre-receive"
}

# Prints a new commit on top of what is fetched from the ref $1, or on nothing.
commit() {
    parent=
    if git fetch --quiet "$REPOSITORY" "$1" 2>/dev/null; then
        parent="-p $(git rev-parse FETCH_HEAD)"
    fi
    # shellcheck disable=SC2086 # two words or none
    git commit-tree $parent -m "$2" "$3"
}

write() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    git init --quiet
    printf '%s\n' "$1" >state
    git add state
    state=$(commit refs/heads/main "state" "$(git write-tree)")
    # Nothing stands in the tree of a token.
    token=$(commit refs/fencing/token "token $LEASEHOLD_TOKEN" "$(git mktree </dev/null)")
    if ! git push --quiet --atomic "$REPOSITORY" \
        "$state:refs/heads/main" "$token:refs/fencing/token" 2>error; then
        cat error >&2
        grep -q 'stale fencing token' error && exit 79
        exit 1
    fi
}

case $1 in
    setup) setup ;;
    write) write "$2" ;;
    read) git --git-dir "$REPOSITORY" show main:state ;;
esac
