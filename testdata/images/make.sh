#!/bin/bash
# Makes the base images that the tests, the demo and the benchmarks start from, as
# OCI layouts without any registry:
#
#   busybox   Debian's static busybox with its applets, /etc/passwd, /tmp …
#   busybox-arm64   the same for arm64, whatever this machine is
#   debian    the machine's own release, by debootstrap (root) or mmdebstrap
#   host/     what a build needs to reach the package servers this machine uses:
#             apt.conf, pip.conf, ca-certificates.crt — handed to builds as secrets
#
# usage: make.sh [--out DIR] [busybox|busybox-arm64|debian|host]...
#                                                         (default: all, out/images)
#
# Mirrors, proxies and certificates are read from the machine's own apt and pip
# configuration. Results are cached by a stamp, made in a temporary directory and
# renamed into place; concurrent runs wait for each other. An image that cannot be
# made here is reported as `SKIPPED: …` and the script exits 3.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/../../out/images
format=1 # raise when what this script produces changes

wanted=()
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=$2; shift 2 ;;
    busybox | busybox-arm64 | debian | host) wanted+=("$1"); shift ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
done
[ ${#wanted[@]} -gt 0 ] || wanted=(busybox busybox-arm64 debian host)

mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
flock 9

say() { echo "images: $*" >&2; }
skipped=0
skip() { echo "SKIPPED: $*" >&2; skipped=1; }

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(dpkg --print-architecture 2>/dev/null || uname -m) ;;
esac

# Prints the apt setting $1, or nothing.
apt_setting() {
    local value=
    if command -v apt-config >/dev/null; then eval "$(apt-config shell value "$1")"; fi
    printf %s "$value"
}

# True when image $1 was made with stamp $2.
current() { [ "$(cat "$out/$1/.stamp" 2>/dev/null)" = "$2" ]; }

# Renames the finished directory $1 to image $2 and stamps it with $3.
publish() {
    echo "$3" >"$1/.stamp"
    chmod 755 "$1"
    rm -rf "$out/.old"
    if [ -e "$out/$2" ]; then mv "$out/$2" "$out/.old"; fi
    mv "$1" "$out/$2"
    rm -rf "$out/.old"
    say "made $out/$2"
}

work=
trap 'rm -rf "$work"' EXIT
fresh_work() {
    rm -rf "$work"
    work=$(mktemp -d "$out/.work.XXXXXX")
    chmod 755 "$work"
}

# Prints the path of a static busybox: the installed one ($BUSYBOX names others to look
# at), or the package's.
find_busybox() {
    local installed
    for installed in ${BUSYBOX-/bin/busybox /usr/bin/busybox}; do
        if [ -x "$installed" ] && ! ldd "$installed" >/dev/null 2>&1 &&
            [ "$("$installed" --list | grep -cx -e httpd -e wget -e stat)" = 3 ]; then
            echo "$installed"
            return
        fi
    done
    fetch_busybox "$arch"
}

# Prints the path of the busybox of Debian's package for the architecture $1.
fetch_busybox() {
    command -v apt-get >/dev/null || return 1
    say "fetching the busybox-static package for $1"
    local lists=$work/apt
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial" "$lists/deb"
    # Foreign packages are only looked at: the machine's own dpkg is not told of them.
    local apt=(apt-get -q -o "Dir::State::lists=$lists/lists" -o "Dir::Cache=$lists/cache"
        -o APT::Sandbox::User= -o "APT::Architectures::=$arch" -o "APT::Architectures::=$1")
    "${apt[@]}" update >&2 || return 1
    (cd "$lists/deb" && "${apt[@]}" download "busybox-static:$1" >&2) || return 1
    dpkg-deb -x "$lists"/deb/busybox-static_*.deb "$lists/root" || return 1
    find "$lists/root" -type f -path '*/bin/busybox' | head -1
}

make_busybox() {
    local busybox
    fresh_work
    if ! busybox=$(find_busybox) || [ -z "$busybox" ]; then
        skip "busybox image: neither a static busybox nor its Debian package can be had"
        return
    fi
    local stamp
    stamp="$format busybox $arch $(sha256sum <"$busybox")"
    if current busybox "$stamp"; then return; fi
    busybox_image "$busybox" "$busybox" "$arch" busybox "$stamp"
}

# The applets' names are those of this machine's busybox: the other cannot be asked.
make_busybox-arm64() {
    local own busybox stamp
    if [ -s "$out/busybox-arm64/.stamp" ] &&
        [ "$(cut -d' ' -f1,2 "$out/busybox-arm64/.stamp")" = "$format busybox-arm64" ]; then
        return
    fi
    fresh_work
    if ! own=$(find_busybox) || ! busybox=$(fetch_busybox arm64) || [ -z "$busybox" ]; then
        skip "busybox-arm64 image: Debian's busybox-static for arm64 cannot be had"
        return
    fi
    stamp="$format busybox-arm64 $(sha256sum <"$busybox")"
    busybox_image "$own" "$busybox" arm64 busybox-arm64 "$stamp"
}

# Makes image $4, stamped $5, of busybox $2 for architecture $3 with the applets of busybox $1.
busybox_image() {
    local own=$1 busybox=$2 architecture=$3 root=$work/root
    mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,etc,home,proc,sys,root,run,tmp,var/tmp,var/www}
    chmod 700 "$root/root"
    chmod 1777 "$root/tmp" "$root/var/tmp"
    install -m 755 "$busybox" "$root/bin/busybox"
    "$own" --list-full | while read -r applet; do
        if [ "$applet" = bin/busybox ]; then continue; fi
        mkdir -p "$root/${applet%/*}"
        ln -f "$root/bin/busybox" "$root/$applet"
    done
    cp "$here/busybox/passwd" "$here/busybox/group" "$root/etc/"
    chmod 644 "$root/etc/passwd" "$root/etc/group"
    python3 "$here/layout.py" --arch "$architecture" --root-owned "$root" "$work/image"
    publish "$work/image" "$4" "$5"
}

# Prints "URI RELEASE KEYRING" of the apt source that carries the machine's release.
apt_source() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] || return 1
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 2>/dev/null |
        awk -v release="$codename" '$2 == release && $3 == "main" { print $1, $2; exit }'
}

make_debian() {
    local uri release stamp root components=main
    read -r uri release < <(apt_source || true) || true
    if [ -z "${release:-}" ]; then
        skip "debian image: apt has no source for this machine's release"
        return
    fi
    if [ "$(. /etc/os-release && echo "$ID")" = ubuntu ]; then components=main,universe; fi
    stamp="$format debian $arch $uri $release"
    if current debian "$stamp"; then return; fi
    fresh_work
    root=$work/root
    local proxy certificates
    proxy=$(apt_setting Acquire::http::Proxy)
    if [ -n "$proxy" ]; then export http_proxy=$proxy; fi
    proxy=$(apt_setting Acquire::https::Proxy)
    if [ -n "$proxy" ]; then export https_proxy=$proxy; fi
    certificates=$(apt_setting Acquire::https::CaInfo)
    local making="bootstrapping $release from the machine's mirror (about a minute)"
    if [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then
        say "$making"
        debootstrap --variant=minbase --components="$components" \
            ${certificates:+--ca-certificate="$certificates"} \
            "$release" "$root" "$uri" >"$out/debootstrap.log" 2>&1 </dev/null || {
            tail -5 "$out/debootstrap.log" >&2
            skip "debian image: debootstrap failed (its log: $out/debootstrap.log)"
            return
        }
        trim_debian "$root"
        python3 "$here/layout.py" --arch "$arch" --cmd bash "$root" "$work/image"
    elif command -v mmdebstrap >/dev/null; then
        say "$making"
        # As a user: inside mmdebstrap's own user namespace, unpacked from its tar by
        # the layout tool in the same namespace.
        mmdebstrap --mode=unshare --variant=minbase --components="$components" \
            "$release" "$work/root.tar" "$uri" >"$out/debootstrap.log" 2>&1 </dev/null || {
            skip "debian image: mmdebstrap failed (its log: $out/debootstrap.log)"
            return
        }
        mmdebstrap --unshare-helper bash -ec "
            mkdir '$root' && tar -C '$root' --exclude='./dev/*' -xf '$work/root.tar'
            $(declare -f trim_debian); trim_debian '$root'
            chmod 755 '$root'
            python3 '$here/layout.py' --arch '$arch' --cmd bash '$root' '$root/../image'
            rm -rf '$root'" 2>>"$out/debootstrap.log" || {
            skip "debian image: the unshared user cannot write $work"
            return
        }
    else
        skip "debian image: needs root with debootstrap, or mmdebstrap"
        return
    fi
    publish "$work/image" debian "$stamp"
}

# Removes what a base image does not carry: downloads, lists, logs, machine identity.
trim_debian() {
    rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/tmp/* "$1"/run/*
    rm -f "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/cache/ldconfig/aux-cache
    rm -f "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id
    : >"$1/etc/machine-id"
    mkdir -p "$1/var/lib/apt/lists/partial" "$1/var/cache/apt/archives/partial"
}

# The machine's way to the package servers, as files that builds mount as secrets.
make_host() {
    fresh_work
    local host=$work/host setting value certificates
    mkdir "$host"
    {
        echo "// How this machine's apt reaches its servers."
        for setting in Acquire::http::Proxy Acquire::https::Proxy; do
            value=$(apt_setting "$setting")
            if [ -n "$value" ]; then echo "$setting \"$value\";"; fi
        done
        if [ -n "$(apt_setting Acquire::https::CaInfo)" ]; then
            echo 'Acquire::https::CaInfo "/run/secrets/ca-certificates.crt";'
        fi
    } >"$host/apt.conf"

    certificates=${SSL_CERT_FILE:-$(apt_setting Acquire::https::CaInfo)}
    [ -r "$certificates" ] || certificates=/etc/ssl/certs/ca-certificates.crt
    if [ -r "$certificates" ]; then cp "$certificates" "$host/ca-certificates.crt"; else : >"$host/ca-certificates.crt"; fi

    python3 "$here/pip_conf.py" >"$host/pip.conf"
    chmod 644 "$host"/*
    rm -rf "$out/.old"
    if [ -e "$out/host" ]; then mv "$out/host" "$out/.old"; fi
    mv "$host" "$out/host"
    rm -rf "$out/.old"
}

for image in "${wanted[@]}"; do "make_$image"; done
[ $skipped = 0 ] || exit 3
