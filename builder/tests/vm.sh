#!/bin/bash
# Runs integration tests in a virtual machine whose control groups are version 2 alone, and whose
# kernel has AppArmor.
#
# usage: vm.sh [-c COOPER] [-d DIR] [FILTER...]
#
#   -c  the program under test, in place of the debug build that the tests were linked with:
#       without hardware support for virtual machines an optimised one saves minutes
#   -d  working directory (default out/vm); holds the kernel, which is kept
#
# The filters are those of `cargo test` (default: limits, pausing, steps with limits, isolation).
# The
# machine is made of a kernel of Debian or Ubuntu (`apt-get download`, not installed), a static
# busybox, and the tests with the libraries that they need; it has no network. Its disk is there for
# what follows the tests: containers are made on it, the machine loses power, and after it has
# booted again cooper tells the truth about them and starts them. The filter `reboot` does that
# alone. Needs qemu-system-x86, kmod, cpio and e2fsprogs; KVM=1 lets it use KVM. Ends with an exit
# code of its own if anything of this fails.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cooper= dir=$top/out/vm
while getopts c:d:h option; do
    case $option in
    c) cooper=$(realpath "$OPTARG") ;;
    d) dir=$OPTARG ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- container::limits container::lifecycle::a_paused options::limits \
    container::isolation

die() { echo "vm: $*" >&2; exit 1; }
for program in qemu-system-x86_64 depmod cpio busybox dpkg-deb mkfs.ext4; do
    type -P "$program" >/dev/null || die "$program is not installed"
done
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# The kernel's package: that of virtual machines is the smallest.
kernel_package() {
    local name package
    for name in linux-image-cloud-amd64 linux-image-virtual linux-image-amd64; do
        package=$(apt-cache depends "$name" 2>/dev/null |
            awk '/Depends: linux-image-/ && !found { print $2; found = 1 }') || continue
        if [ -n "$package" ]; then echo "$package"; return; fi
    done
}
if ! [ -e "$dir/kernel/.done" ]; then
    package=$(kernel_package)
    [ -n "$package" ] || die "apt knows no kernel: apt-get update"
    rm -rf "$dir/kernel"
    mkdir "$dir/kernel"
    (cd "$dir" && apt-get -q download "$package" >&2)
    dpkg-deb -x "$dir/$package"_*.deb "$dir/kernel"
    rm "$dir/$package"_*.deb
    touch "$dir/kernel/.done"
fi
vmlinuz=$(echo "$dir"/kernel/boot/vmlinuz-*)
version=${vmlinuz##*/vmlinuz-}

"$top/testdata/images/make.sh" busybox
cd "$top"
tests=$(cargo test -q -p cooper-builder --test it --no-run --message-format=json |
    grep -o '"executable":"[^"]*/it-[^"]*"' | tail -1 | cut -d'"' -f4)
[ -x "$tests" ] || die "no test program was built"
linked=$(dirname "$(dirname "$tests")")/cooper

root=$dir/root
rm -rf "$root"
mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,etc,root,lib/modules}
cp "$(type -P busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -sf /bin/busybox "$root/bin/$applet"
done
ln -sf /bin/busybox "$root/sbin/modprobe"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"

# What the tests look for is where it was when they were built.
place() { mkdir -p "$root$(dirname "$2")" && cp "$1" "$root$2"; }
python=python3
if [ -x /usr/bin/python3 ]; then python=/usr/bin/python3; fi
library=$("$python" -c 'import os; print(os.path.dirname(os.__file__))')
python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
place "$python" "$python"
ln -sf "$python" "$root/bin/python3"
place "$top/builder/benches/layout_tar.py" "$top/builder/benches/layout_tar.py"
mkdir -p "$root$library"
tar -C "$library" --exclude=__pycache__ --exclude=dist-packages --exclude=test -c . | tar -C "$root$library" -x
place "${cooper:-$linked}" "$linked"
place "$tests" "$tests"
strip "$root$linked" "$root$tests"
parser=$(type -P apparmor_parser || true)
if [ -n "$parser" ]; then place "$parser" /sbin/apparmor_parser; fi
for library in $(ldd "$tests" $parser "${cooper:-$linked}" "$python" "$library"/lib-dynload/*.so | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u); do
    place "$library" "$library"
done
mkdir -p "$root$top/out/images" "$root$top/testdata/images" "$root$(dirname "$linked")/../tmp"
cp -r "$top/out/images/busybox" "$root$top/out/images/"
printf '#!/bin/sh\nexit 0\n' >"$root$top/testdata/images/make.sh"
chmod 755 "$root$top/testdata/images/make.sh"

modules=lib/modules/$version/kernel
from=$dir/kernel
if [ -d "$from/usr/lib/modules" ]; then from=$from/usr; fi
mkdir -p "$root/$modules/drivers/net"
for part in net fs/overlayfs lib crypto drivers/net/veth.ko drivers/net/dummy.ko drivers/net/tun.ko; do
    for found in "$from/$modules/$part"*; do
        if [ -e "$found" ]; then
            mkdir -p "$root/$modules/$(dirname "$part")"
            cp -r "$found" "$root/$modules/$(dirname "$part")/"
        fi
    done
done
depmod -b "$root" "$version" 2>/dev/null

# The kernel unpacks into a root that cannot be left by pivot_root(2), as containers are entered.
cat >"$root/init" <<INIT
#!/bin/sh
mkdir /new
mount -t tmpfs -o size=70% root /new
cp -a /[!n]* /new/
exec switch_root /new /tests
INIT
cat >"$root/tests" <<INIT
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
mount -t tmpfs -o size=60% tmp '$(dirname "$(dirname "$linked")")/tmp'
modprobe overlay
ip link set lo up
export PATH=/bin:/sbin HOME=/root RUST_BACKTRACE=0
mkdir /disk
mount -t ext4 /dev/nvme0n1 /disk
for word in \$(cat /proc/cmdline); do
    case \$word in cooper.boot=*) . "/boot-\${word#*=}"; sync; poweroff -f ;; esac
done
echo "machine: \$(uname -r), cgroup: \$(cat /sys/fs/cgroup/cgroup.controllers)"
'$tests' --test-threads=1 $*
echo "tests ended with \$?"
poweroff -f
INIT
cooper="'$linked' --root /disk/root"
cat >"$root/boot-1" <<BOOT
cooper() { $cooper "\$@"; }
tar -C '$top/out/images/busybox' -cf /tmp/image.tar .
cooper tag "\$(cooper load -q -i /tmp/image.tar | sed 's/.*: *//')" busybox
serve='echo run >> /data/runs; sleep 1000'
cooper run -d --name always --restart always -v data:/data -m 64m busybox sh -c "\$serve"
cooper run -d --name gone --rm busybox sleep 1000
cooper run --name ended busybox sh -c 'exit 3'
cooper exec always sh -c 'until [ -s /data/runs ]; do :; done; echo mine > /own; sync'
cooper ps -a --format 'before: {{.Names}} {{.State}}' | sort
# The power goes: nothing is written any more, and nobody is told.
echo b > /proc/sysrq-trigger
BOOT
cat >"$root/boot-2" <<BOOT
cooper() { $cooper "\$@"; }
cooper ps -a --format 'after: {{.Names}} {{.State}}' | sort
cooper inspect --format 'after: {{.State.Pid}} {{.State.ExitCode}}' always ended
cooper start always
cooper exec always sh -c 'until [ "\$(wc -l < /data/runs)" = 2 ]; do :; done'
cooper exec always sed 's/^/again: /' /own /data/runs
cooper inspect --format 'again: {{.State.Status}} {{.HostConfig.Memory}}' always
cooper fsck && echo 'again: sound'
cooper rm -f always
BOOT
chmod 755 "$root/init" "$root/tests"
(cd "$root" && find . -print0 | cpio -0 -o -H newc --quiet) | gzip -1 >"$dir/initrd.gz"

accelerated=()
if [ -n "${KVM:-}" ]; then accelerated=(-enable-kvm -cpu host,arch-capabilities=off); fi
rm -f "$dir/disk.img"
truncate -s 1G "$dir/disk.img"
mkfs.ext4 -q -F "$dir/disk.img"

# Boots the machine with further words on its command line, and shows its console.
boot() {
    qemu-system-x86_64 "${accelerated[@]}" -m 3072 -smp 2 -nographic -no-reboot -nic none \
        -drive "file=$dir/disk.img,format=raw,if=none,id=disk" -device nvme,drive=disk,serial=cooper \
        -kernel "$vmlinuz" -initrd "$dir/initrd.gz" \
        -append "console=ttyS0 quiet cgroup_no_v1=all apparmor=1 security=apparmor panic=-1 $*" \
        </dev/null | tr -d '\r' | tee "$dir/console.log"
}

if [ "$*" != reboot ]; then
    boot
    grep -q '^tests ended with 0' "$dir/console.log"
fi
boot cooper.boot=1
grep -o 'before: .*' "$dir/console.log" | diff - <(printf 'before: %s\n' 'always running' 'ended exited' 'gone running')
boot cooper.boot=2
grep -oE '(after|again): .*' "$dir/console.log" | diff - <(printf '%s\n' \
    'after: always exited' 'after: ended exited' 'after: 0 137' 'after: 0 3' \
    'again: mine' 'again: run' 'again: run' 'again: running 67108864' 'again: sound')
echo "vm: containers are as they were after a loss of power"
