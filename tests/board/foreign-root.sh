#!/usr/bin/env bash
# Runs a command in a Debian root for arm64 or armhf, under QEMU's user emulation, without leaving a trace on this machine: the
# kernel learns of the emulator (binfmt_misc) inside a user namespace of its own.
#
#     tests/board/foreign-root.sh arm64|armhf FOLDER                  makes such a root: dpkg, adduser and what they need
#     tests/board/foreign-root.sh arm64|armhf FOLDER COMMAND...       runs a command in it as its root
#
# Needs Linux 6.7 or later and to be root, because its users must be mapped; exit code 77 where that cannot be had.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/../.." && pwd)
architecture=${1:?architecture}
root=${2:?folder}
shift 2
PURPOSE="a root for $architecture"
# shellcheck source=targets/packages.sh
. "$HERE/targets/packages.sh"
# The head of its programs' files: width of a word, machine.
case $architecture in
arm64) QEMU=qemu-aarch64-static HEAD='\x02\x01' MACHINE='\xb7' ;;
armhf) QEMU=qemu-arm-static HEAD='\x01\x01' MACHINE='\x28' ;;
*)
    echo "usage: $0 arm64|armhf FOLDER [COMMAND...]" >&2
    exit 2
    ;;
esac

emulator() {
    local found=$ROOT/usr/bin/$QEMU
    if [ ! -x "$found" ]; then
        found=$(command -v $QEMU) || { packages qemu-user-static && found=$ROOT/usr/bin/$QEMU; }
    fi
    echo "$found"
}

# Inside the namespaces: the emulator for such programs, kept open by the kernel (F), so that a chroot need not hold it.
# shellcheck disable=SC2016
ENTER='mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf "%s" ":foreign:M::\x7fELF$2\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00$3\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$1:F" > /proc/sys/fs/binfmt_misc/register
root=$4
shift 4
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"'

enter() {
    local pipes child status=0
    pipes=$(mktemp -d)
    mkfifo "$pipes/up" "$pipes/mapped"
    exec 3<&0
    unshare --user --mount sh -c 'echo $$ > "$1/up"; read -r _ < "$1/mapped"; shift; exec sh -ec "$@"' sh "$pipes" \
        "$ENTER" sh "$(emulator)" "$HEAD" "$MACHINE" "$root" "$@" <&3 &
    read -r child < "$pipes/up"
    echo "0 0 65536" > "/proc/$child/uid_map"
    echo "0 0 65536" > "/proc/$child/gid_map"
    echo > "$pipes/mapped"
    wait $! || status=$?
    rm -r "$pipes"
    return $status
}

make_root() {
    local kept=$CACHE/$architecture-root.tar names
    if [ ! -e "$kept" ]; then
        rm -rf "$root" && mkdir -p "$root/debs"
        # As every Debian since 12 has it.
        local folder
        for folder in bin sbin lib; do mkdir -p "$root/usr/$folder" && ln -s "usr/$folder" "$root/$folder"; done
        # Some archives lack the index of one suite or another for an architecture that few use. What is missing shows below.
        foreign_apt "apt-$architecture" "$architecture" apt-get update >&2 || true
        names=$(foreign_apt "apt-$architecture" "$architecture" apt-get install -y --no-install-recommends --print-uris \
            adduser base-files base-passwd coreutils dash debianutils diffutils dpkg findutils grep init-system-helpers libc-bin sed |
            awk '$1 ~ /^\047/ { sub(/_.*/, "", $2); if ($2 != "usrmerge") print $2 }') || skip "no index of $architecture packages"
        # shellcheck disable=SC2086
        (cd "$root/debs" && foreign_apt "apt-$architecture" "$architecture" apt-get download $names >&2) || skip "the packages cannot be fetched"
        local file
        for file in "$root"/debs/*.deb; do dpkg-deb --fsys-tarfile "$file" | tar -C "$root" -x --keep-directory-symlink; done
        mkdir -p "$root"/var/lib/dpkg/{info,updates}
        touch "$root/var/lib/dpkg/status"
        cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
        cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
        enter sh -c 'dpkg --force-all --install /debs/*.deb > /log 2>&1; dpkg --configure --pending >> /log 2>&1' || true
        rm -r "$root/debs"
        if [ "$(enter dpkg-query -Wf '${db:Status-Status} ${Package}\n' adduser dpkg init-system-helpers | grep -c '^installed')" != 3 ]; then
            tail -20 "$root/log" >&2
            skip "the root could not be made"
        fi
        tar -C "$root" -cf "$kept.part" . && mv "$kept.part" "$kept"
    fi
    rm -rf "$root" && mkdir -p "$root" && tar -C "$root" -xpf "$kept"
}

[ "$(id -u)" = 0 ] || skip "needs root"
unshare --user --mount true 2> /dev/null || skip "the kernel gives no user namespace"
if [ $# = 0 ]; then make_root; else enter "$@"; fi
