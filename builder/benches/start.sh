#!/bin/bash
# Times the start of containers beside podman, and looks at what waits for them.
#
# usage: start.sh [-n RUNS] [-c CONTAINERS] [-m host,bridge] [-d DIR]
#
#   -n  runs of `run --rm busybox true` by each contender in each mode (default 9)
#   -c  containers that are started at once (default 50)
#   -m  networks (default host,bridge); podman's bridge is its own netavark or CNI
#   -d  working directory (default out/bench-start), emptied at the end
#
# Prints, for each network: medians in milliseconds and their ratio, the time until so many
# containers run that were started at once, and the resident memory of their monitors: the
# largest RSS, and the mean PSS and private part. Everything happens in a network namespace of
# its own, so that no bridge and no rule is left. Needs root; podman is optional. COOPER=path
# uses a binary as it is; otherwise the release build is made first.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
runs=9 count=50 modes=host,bridge dir=$top/out/bench-start
while getopts n:c:m:d:h option; do
    case $option in
    n) runs=$OPTARG ;;
    c) count=$OPTARG ;;
    m) modes=$OPTARG ;;
    d) dir=$OPTARG ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
done
[ "$(id -u)" = 0 ] || { echo "start: needs root" >&2; exit 1; }

if [ -z "${COOPER:-}" ]; then
    (cd "$top" && cargo build --release --bin cooper >&2)
    COOPER=${CARGO_TARGET_DIR:-$top/target}/release/cooper
fi
COOPER=$(realpath "$COOPER")
if [ -z "${IN_NAMESPACE:-}" ]; then
    export COOPER IN_NAMESPACE=1
    exec unshare --net -- "$0" -n "$runs" -c "$count" -m "$modes" -d "$dir"
fi
ip link set lo up

images=$top/out/images
"$top/testdata/images/make.sh" busybox
mkdir -p "$dir"
trap 'rm -rf --one-file-system "$dir"' EXIT

cooper() { "$COOPER" --root "$dir/cooper" "$@"; }
cooper_run() { cooper run --rm --network "$1" busybox true; }
python3 "$here/layout_tar.py" "$images/busybox" busybox:latest "$dir/busybox.tar"
cooper load -i "$dir/busybox.tar" >/dev/null

# crun of some releases refuses a hybrid cgroup tree: it then runs where the unified
# hierarchy is not mounted.
contenders=(cooper)
if type -P podman >/dev/null && type -P crun >/dev/null; then
    contenders+=(podman)
    runtime=$(type -P crun)
    if [ -d /sys/fs/cgroup/unified ]; then
        runtime=$dir/crun
        printf '#!/bin/sh\nexec unshare -m sh -c %s crun "$@"\n' \
            "'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun \"\$@\"'" >"$runtime"
        chmod 755 "$runtime"
    fi
    echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$dir/policy.json"
    printf 'unqualified-search-registries = []\n' >"$dir/registries.conf"
fi
podman() {
    CONTAINERS_REGISTRIES_CONF=$dir/registries.conf command podman --root "$dir/podman" \
        --runroot "$dir/podman-run" --storage-driver overlay --runtime "$runtime" \
        --cgroup-manager cgroupfs "$@"
}
podman_run() {
    podman run --rm --network "$1" --cgroups=disabled --ulimit nofile=1024:1024 \
        --ulimit nproc=1000:1000 localhost/busybox true
}
if [ ${#contenders[@]} = 2 ]; then
    id=$(podman pull -q --signature-policy "$dir/policy.json" "oci:$images/busybox:latest" | tail -1)
    podman tag "$id" localhost/busybox:latest
    command podman --version
fi

# Prints microseconds that a command takes.
timed() {
    local begin=${EPOCHREALTIME/./}
    "$@" >/dev/null </dev/null
    echo $((${EPOCHREALTIME/./} - begin))
}
median() { sort -n | awk '{ all[NR] = $1 } END { printf "%.1f", all[int((NR + 1) / 2)] / 1000 }'; }

# The memory of this store's monitors: those whose container's lock lies below it.
memory() {
    local process rss pss own most=0 all_pss=0 all_own=0 monitors=0
    for process in /proc/[0-9]*; do
        [ "$(tr '\0' ' ' 2>/dev/null <"$process/cmdline")" = "cooper-monitor " ] || continue
        ls -l "$process/fd" 2>/dev/null | grep -qF "$dir/cooper/" || continue
        rss=$(awk '/^Rss:/ { print $2 }' "$process/smaps_rollup")
        pss=$(awk '/^Pss:/ { print $2 }' "$process/smaps_rollup")
        own=$(awk '/^Private_/ { sum += $2 } END { print sum }' "$process/smaps_rollup")
        monitors=$((monitors + 1)) all_pss=$((all_pss + pss)) all_own=$((all_own + own))
        if [ "$rss" -gt "$most" ]; then most=$rss; fi
    done
    [ $monitors -gt 0 ] || { echo "start: no monitor runs" >&2; exit 1; }
    echo "$monitors monitors: at most $most kB RSS each, $((all_pss / monitors)) kB PSS and" \
        "$((all_own / monitors)) kB private on average"
}

# Starts many containers at once and waits until all commands have returned.
burst() {
    local mode=$1 number
    for number in $(seq "$count"); do
        cooper run -d --name "burst-$number" --network "$mode" busybox sleep 1000 &
    done
    wait
}

echo "$("$COOPER" --version), $(uname -sr), $(nproc) CPUs, load $(cut -d' ' -f1 /proc/loadavg)"
for mode in ${modes//,/ }; do
    for contender in "${contenders[@]}"; do
        : >"$dir/$contender.samples"
        "${contender}_run" "$mode" >/dev/null </dev/null
    done
    for _ in $(seq "$runs"); do
        for contender in "${contenders[@]}"; do
            timed "${contender}_run" "$mode" >>"$dir/$contender.samples"
        done
    done
    line="$mode: run --rm busybox true:"
    for contender in "${contenders[@]}"; do
        result=$(median <"$dir/$contender.samples")
        line+=" $contender $result ms"
        if [ "$contender" = podman ]; then
            line+=" (1/$(awk "BEGIN { printf \"%.1f\", $result / $ours }"))"
        else
            ours=$result
        fi
    done
    echo "$line"
    took=$(timed burst "$mode")
    running=$(cooper ps -q | wc -l)
    echo "$mode: $running containers at once: $((took / 1000)) ms"
    sleep 3
    echo "$mode: $(memory)"
    cooper ps -aq | xargs "$COOPER" --root "$dir/cooper" rm -f >/dev/null
done
