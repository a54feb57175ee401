#!/bin/bash
# Times cooper beside docker (BuildKit), buildah and podman on the same workloads.
#
# usage: compare.sh [-n RUNS] [-w W1,W3,W4] [-p cooper,docker,buildah] [-d DIR]
#
#   -n  runs of every workload (default 3); the table shows medians
#   -w  workloads: W1 W3 W4 W5s W5 W6 W7 W10 W10few W10copy W10env (see workload.py; W7 is `run --rm busybox true`).
#       W5s and W5 also save the image: gzip, zstd and uncompressed, where a contender can, with
#       the archives' sizes; -1cpu is the same on one processor
#   -p  contenders; the ones that are not installed are left out with a note
#   -d  working directory (default out/bench); holds one image file, which is kept
#
# Every contender keeps its storage on one loop-mounted journaled ext4 and the runs are
# interleaved. Before a cold run a contender's cache is emptied and checked to be empty.
# Docker's daemon is started with its own data root, socket and configuration and is
# stopped at the end. Needs root. COOPER=path uses a binary as it is; otherwise the
# release build is made first. DOCKER_TREE=path takes docker from another release of
# Debian, for example one made by
#   debootstrap --variant=minbase --include=docker.io,docker-cli,docker-buildx,iptables trixie PATH
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
runs=3 workloads=W1,W3,W4 peers=cooper,docker,buildah dir=$top/out/bench
while getopts n:w:p:d:h option; do
    case $option in
    n) runs=$OPTARG ;;
    w) workloads=$OPTARG ;;
    p) peers=$OPTARG ;;
    d) dir=$OPTARG ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
done
IFS=, read -ra workloads <<<"$workloads"
IFS=, read -ra peers <<<"$peers"

die() { echo "compare: $*" >&2; exit 1; }
note() { echo "compare: $*" >&2; }
[ "$(id -u)" = 0 ] || die "needs root (loop mount, dockerd)"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 8>"$dir/.lock"
flock -n 8 || die "another comparison uses $dir"
disk=$dir/disk logs=$dir/logs samples=$dir/samples.tsv
mkdir -p "$disk" "$logs"
: >"$samples"
images=$top/out/images
registry_pid=
registry_port=
daemon_pid=

finish() {
    local status=$? peer
    set +e
    for peer in "${peers[@]}"; do "${peer}_stop" 2>/dev/null; done
    if [ -n "$registry_pid" ]; then kill "$registry_pid" && wait "$registry_pid" 2>/dev/null; fi
    # Overlays and namespaces of a contender may linger.
    awk -v below="$dir/" -v tree="$docker_tree" \
        'index($2, below) == 1 || tree != "" && ($2 == tree || index($2, tree "/") == 1) { print $2 }' /proc/self/mounts | sort -r |
        while read -r mounted; do umount "$mounted" 2>/dev/null || umount -l "$mounted"; done
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

mount_disk() {
    if [ ! -e "$dir/disk.ext4" ]; then
        truncate -s 40G "$dir/disk.ext4"
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$dir/disk.ext4"
    fi
    mount -o loop,noatime "$dir/disk.ext4" "$disk"
}

# The layer blob of image $1's layout.
layer_blob() {
    python3 - "$images/$1" <<'PY'
import json, sys
root = sys.argv[1]
blob = lambda digest: f"{root}/blobs/{digest.replace(':', '/')}"
manifest = json.load(open(blob(json.load(open(f"{root}/index.json"))["manifests"][0]["digest"])))
print(blob(manifest["layers"][0]["digest"]))
PY
}

# --- contenders ---------------------------------------------------------------------
# NAME_start: make ready, base image in the store; NAME_prune: empty everything but the
# base; NAME_build CONTEXT ARGS…: build and tag `bench`; NAME_save FORMAT FILE: write `bench`
# as an archive with its layers so compressed, where it can; NAME_pull_build CONTEXT REFERENCE; NAME_run, where it has one; NAME_stop.

cooper_bin=${COOPER:-}
cooper() { "$cooper_bin" --root "$disk/cooper" "$@"; }
cooper_start() {
    if [ -z "$cooper_bin" ]; then
        (cd "$top" && cargo build --release --bin cooper >&2)
        cooper_bin=${CARGO_TARGET_DIR:-$top/target}/release/cooper
    fi
    "$cooper_bin" build --help >/dev/null 2>&1 || return 1
}
cooper_version() { "$cooper_bin" --version; }
cooper_prune() {
    rm -rf "$disk/cooper"
    cooper load -i "$dir/busybox.tar"
}
cooper_build() { cooper build --progress=plain -t bench "$@"; }
cooper_save() { cooper save --format oci --compression "$1" -o "$2" bench; }
cooper_pull_build() { cooper build --progress=plain -t bench --build-arg "BASE=$2" "$1"; }
cooper_run() { cooper run --rm busybox true; }
cooper_stop() { :; }

docker() { DOCKER_CONFIG=$dir DOCKER_HOST=unix://$dir/docker.sock DOCKER_BUILDKIT=1 "${in_docker_tree[@]}" "$docker_bin" "$@"; }
docker_bin=docker
docker_tree=
in_docker_tree=()
# The tree is a mount, as the daemon wants of its root, and sees the working directory under
# its own name, and the machine's /proc, /sys and /dev.
docker_enter_tree() {
    docker_tree=$(cd "$DOCKER_TREE" && pwd) || return 1
    in_docker_tree=(chroot "$docker_tree")
    local seen
    mount --bind "$docker_tree" "$docker_tree"
    for seen in /proc /sys /dev; do
        mount --rbind "$seen" "$docker_tree$seen"
        mount --make-rslave "$docker_tree$seen"
    done
    mkdir -p "$docker_tree$dir"
    mount --bind "$dir" "$docker_tree$dir"
    mount --bind "$disk" "$docker_tree$disk"
}
docker_start() {
    if [ -n "${DOCKER_TREE:-}" ]; then docker_enter_tree; fi
    "${in_docker_tree[@]}" sh -c 'command -v dockerd' >/dev/null || return 1
    # The client of the same package as the daemon, where there are several.
    docker_bin=$("${in_docker_tree[@]}" sh -c 'PATH=/usr/bin:$PATH command -v docker') || return 1
    rm -rf "$dir/docker.sock" "$dir/docker.pid" "$dir/docker-exec"
    echo '{}' >"$dir/daemon.json"
    "${in_docker_tree[@]}" dockerd --config-file "$dir/daemon.json" --data-root "$disk/docker" \
        --exec-root "$dir/docker-exec" --pidfile "$dir/docker.pid" \
        -H "unix://$dir/docker.sock" --iptables=false --ip6tables=false --bridge=none \
        >"$logs/dockerd.log" 2>&1 8>&- &
    daemon_pid=$!
    local _
    for _ in $(seq 100); do
        if docker info >/dev/null 2>&1; then break; fi
        kill -0 $daemon_pid 2>/dev/null || return 1
        sleep 0.2
    done
    docker import --change 'CMD ["sh"]' - busybox <"$(layer_blob busybox)" >/dev/null
}
docker_version() { docker version --format 'docker {{.Server.Version}}'; }
docker_prune() {
    local id
    for id in $(docker ps -aq); do docker rm -f "$id"; done
    for id in $(docker images -q --no-trunc | sort -u); do
        if [ "$id" != "$(docker images -q --no-trunc busybox)" ]; then docker rmi -f "$id"; fi
    done
    docker builder prune -af
    local left
    left=$(docker system df --format '{{if eq .Type "Build Cache"}}{{.TotalCount}}{{end}}' | tr -d '\n')
    [ "$left" = 0 ] || die "docker's build cache holds $left records after a prune"
}
docker_build() { docker build --progress=plain --network host -t bench "$@"; }
docker_save() { [ "$1" = uncompressed ] && docker save -o "$2" bench; }
docker_pull_build() { docker_build --build-arg "BASE=$2" "$1"; }
docker_run() { docker run --rm --network host busybox true; }
docker_stop() {
    if [ -n "$daemon_pid" ]; then
        kill "$daemon_pid"
        wait "$daemon_pid"
        daemon_pid=
    fi
}

# crun of some releases refuses a hybrid cgroup tree: it then runs where the unified
# hierarchy is not mounted.
oci_runtime() {
    if type -P crun >/dev/null; then
        if [ ! -d /sys/fs/cgroup/unified ]; then type -P crun; return; fi
        printf '#!/bin/sh\nexec unshare -m sh -c %s crun "$@"\n' \
            "'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"\$@\"'" >"$dir/crun"
        chmod 755 "$dir/crun"
        echo "$dir/crun"
    else
        type -P runc
    fi
}
containers_files() {
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$dir/policy.json"
    printf 'unqualified-search-registries = ["localhost"]\nshort-name-mode = "disabled"\n' >"$dir/registries.conf"
}

buildah() {
    CONTAINERS_REGISTRIES_CONF=$dir/registries.conf command buildah \
        --root "$disk/buildah" --runroot "$dir/buildah-run" --storage-driver overlay "$@"
}
buildah_base() {
    local id
    id=$(buildah pull -q --policy missing --signature-policy "$dir/policy.json" "oci:$images/busybox:latest") || return 1
    buildah tag "$id" docker.io/library/busybox:latest localhost/busybox:latest
}
buildah_start() {
    type -P buildah >/dev/null || return 1
    containers_files
    runtime=$(oci_runtime)
    buildah_base
}
buildah_version() { buildah --version | sed 's/ (.*//'; }
buildah_prune() {
    buildah rm -a
    buildah rmi -a -f
    [ "$(buildah images -aq | wc -l)" = 0 ] || die "buildah keeps images after rmi --all"
    buildah_base
}
buildah_build() {
    buildah bud --layers --jobs 8 --isolation oci --runtime "$runtime" --network host \
        --signature-policy "$dir/policy.json" --tls-verify=false -t bench "$@"
}
buildah_save() {
    [ "$1" != uncompressed ] &&
        buildah push --signature-policy "$dir/policy.json" --compression-format "$1" \
            bench "oci-archive:$2"
}
buildah_pull_build() { buildah_build --build-arg "BASE=$2" "$1"; }
buildah_stop() { :; }

podman() {
    CONTAINERS_REGISTRIES_CONF=$dir/registries.conf command podman --root "$disk/podman" \
        --runroot "$dir/podman-run" --storage-driver overlay --runtime "$runtime" \
        --cgroup-manager cgroupfs "$@"
}
podman_base() {
    local id
    id=$(podman pull -q --signature-policy "$dir/policy.json" "oci:$images/busybox:latest" | tail -1) || return 1
    podman tag "$id" docker.io/library/busybox:latest localhost/busybox:latest
}
podman_start() {
    type -P podman >/dev/null || return 1
    containers_files
    runtime=$(oci_runtime)
    podman_base
}
podman_version() { podman --version; }
podman_prune() {
    podman rmi -a -f
    [ "$(podman images -aq | wc -l)" = 0 ] || die "podman keeps images after rmi --all"
    podman_base
}
podman_build() {
    podman build --layers --jobs 8 --isolation oci --network host \
        --signature-policy "$dir/policy.json" --tls-verify=false -t bench "$@"
}
podman_save() { [ "$1" = gzip ] && podman save --format oci-archive -o "$2" bench; }
podman_pull_build() { podman_build --build-arg "BASE=$2" "$1"; }
podman_run() { podman run --rm --network host --cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 busybox true; }
podman_stop() { :; }

# --- measuring ----------------------------------------------------------------------

# sample PEER LABEL COMMAND…: times one command and records it.
sample() {
    local peer=$1 label=$2 log=$logs/$1-$2.log begin end
    shift 2
    sync
    begin=${EPOCHREALTIME/./}
    if "$@" >"$log" 2>&1 </dev/null; then
        end=${EPOCHREALTIME/./}
        printf '%s\t%s\t%s\n' "$label" "$peer" $((end - begin)) >>"$samples"
    else
        note "$peer failed $label: see $log"
        tail -3 "$log" >&2
        printf '%s\t%s\tfail\n' "$label" "$peer" >>"$samples"
    fi
}

prune() { "${1}_prune" >"$logs/$1-prune.log" 2>&1 </dev/null || die "$1: prune failed: see $logs/$1-prune.log"; }

# save PEER WORKLOAD FORMAT [SUFFIX]: times an archive and records its size.
save() {
    local label=$2-$3${4:-} file=$disk/export.tar
    case $1-$3 in docker-gzip | docker-zstd | buildah-uncompressed | podman-zstd | podman-uncompressed) return ;; esac
    rm -f "$file"
    sample "$1" "$label" "${1}_save" "$3" "$file"
    [ -e "$file" ] || return 0
    printf '%s\t%s\t%s\n' "$label (MB)" "$1" "$(stat -c %s "$file")" >>"$samples"
    rm -f "$file"
}

# on_one_cpu COMMAND…: runs a function of this script on the first processor alone.
on_one_cpu() {
    local all
    all=$(taskset -pc $BASHPID | sed 's/.*: //')
    taskset -pc 0 $BASHPID >/dev/null
    "$@"
    taskset -pc "$all" $BASHPID >/dev/null
}

# measure PEER WORKLOAD RUN
measure() {
    local peer=$1 workload=$2 run=$3 context=$disk/work/$2
    case $workload in
    W5s | W5)
        prune "$peer"
        sample "$peer" "$workload" "${peer}_build" "$context"
        local format
        for format in gzip zstd uncompressed; do save "$peer" "$workload" "$format"; done
        if [ "$peer" = cooper ]; then
            prune "$peer"
            cooper_build "$context" >"$logs/cooper-again.log" 2>&1 </dev/null
            for format in gzip zstd; do on_one_cpu save "$peer" "$workload" "$format" -1cpu; done
        fi
        ;;
    W6)
        start_registry
        prune "$peer"
        sample "$peer" W6 "${peer}_pull_build" "$context" "127.0.0.1:$registry_port/debian:latest"
        ;;
    W7)
        if declare -F "${peer}_run" >/dev/null; then sample "$peer" W7 "${peer}_run"; fi
        ;;
    *)
        prune "$peer"
        sample "$peer" "$workload" "${peer}_build" "$context"
        sample "$peer" "$workload-warm" "${peer}_build" "$context"
        if [ "$workload" = W3 ]; then
            echo "changed by $peer in run $run at $EPOCHREALTIME" >"$context/tree/d250/f07"
            sample "$peer" W3-changed "${peer}_build" "$context"
        fi
        ;;
    esac
}

# A local registry with the debian image, for W6.
start_registry() {
    if [ -n "$registry_pid" ]; then return; fi
    type -P docker-registry >/dev/null && type -P skopeo >/dev/null || die "W6 needs docker-registry and skopeo"
    registry_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$dir/registry.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $disk/registry}}
http: {addr: "127.0.0.1:$registry_port"}
YML
    docker-registry serve "$dir/registry.yml" >"$logs/registry.log" 2>&1 8>&- &
    registry_pid=$!
    sleep 1
    skopeo --policy "$dir/policy.json" copy -q --dest-tls-verify=false "oci:$images/debian:latest" \
        "docker://127.0.0.1:$registry_port/debian:latest"
}

table() {
    python3 - "$samples" "${present[@]}" <<'PY'
import statistics, sys

rows, peers = {}, sys.argv[2:]
for line in open(sys.argv[1]):
    label, peer, micros = line.split("\t")
    rows.setdefault(label, {}).setdefault(peer, []).append(micros.strip())


def median(values):
    good = [int(value) / 1e6 for value in values if value != "fail"]
    return statistics.median(good) if len(good) == len(values) and good else None


others = [peer for peer in peers if peer != "cooper"]
ratios = [f"cooper/{peer}" for peer in others] if "cooper" in peers else []
print(f"{'seconds (median)':<18}" + "".join(f"{name:>16}" for name in peers + ratios))
for label, found in rows.items():
    medians = {peer: median(found[peer]) if peer in found else None for peer in peers}
    cells = ["-" if medians[peer] is None else f"{medians[peer]:.3f}" for peer in peers]
    for peer in others if ratios else []:
        ours, theirs = medians["cooper"], medians[peer]
        cells.append("-" if ours is None or theirs is None else f"1/{theirs / ours:.1f}")
    print(f"{label:<18}" + "".join(f"{cell:>16}" for cell in cells))
PY
}

# --- main ---------------------------------------------------------------------------

"$top/testdata/images/make.sh" busybox
case " ${workloads[*]} " in *" W6 "*) "$top/testdata/images/make.sh" debian ;; esac
containers_files
python3 "$here/layout_tar.py" "$images/busybox" busybox:latest "$dir/busybox.tar"
mount_disk
rm -rf "$disk/work"
for workload in "${workloads[@]}"; do
    if [ "$workload" != W7 ]; then python3 "$here/workload.py" "$disk/work" "$workload"; fi
done

present=()
for peer in "${peers[@]}"; do
    if "${peer}_start" >"$logs/$peer-start.log" 2>&1; then
        present+=("$peer")
        note "$("${peer}_version")"
    else
        note "$peer is left out: not installed, or see $logs/$peer-start.log"
    fi
done
[ ${#present[@]} -gt 0 ] || die "no contender"
case " ${workloads[*]} " in *" W7 "*) for peer in "${present[@]}"; do prune "$peer"; done ;; esac

note "load before: $(cut -d' ' -f1-3 /proc/loadavg) on $(nproc) CPUs"
for run in $(seq "$runs"); do
    for workload in "${workloads[@]}"; do
        # Another contender begins each time.
        for at in $(seq 0 $((${#present[@]} - 1))); do
            measure "${present[$(((at + run) % ${#present[@]}))]}" "$workload" "$run"
        done
    done
    note "run $run of $runs done"
done
note "load after: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "$(uname -sr), $(nproc) CPUs, loop-mounted ext4, $runs runs"
table
