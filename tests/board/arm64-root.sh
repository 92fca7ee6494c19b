#!/usr/bin/env bash
# Runs a command in an arm64 Debian root, under QEMU's user emulation, without leaving a trace on this machine: the kernel learns of
# the emulator (binfmt_misc) inside a user namespace of its own.
#
#     tests/board/arm64-root.sh FOLDER                  makes such a root: dpkg, adduser and what they need
#     tests/board/arm64-root.sh FOLDER COMMAND...       runs a command in it as its root
#
# Needs Linux 6.7 or later and to be root, because its users must be mapped; exit code 77 where that cannot be had.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/../.." && pwd)
PURPOSE="an arm64 root"
# shellcheck source=targets/packages.sh
. "$HERE/targets/packages.sh"
root=${1:?folder}
shift

emulator() {
    local found=$ROOT/usr/bin/qemu-aarch64-static
    if [ ! -x "$found" ]; then
        found=$(command -v qemu-aarch64-static) || { packages qemu-user-static && found=$ROOT/usr/bin/qemu-aarch64-static; }
    fi
    echo "$found"
}

# Inside the namespaces: the emulator for arm64 programs, kept open by the kernel (F), so that a chroot need not hold it.
# shellcheck disable=SC2016
ENTER='mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf "%s" ":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$1:F" > /proc/sys/fs/binfmt_misc/register
root=$2
shift 2
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"'

enter() {
    local pipes child status=0
    pipes=$(mktemp -d)
    mkfifo "$pipes/up" "$pipes/mapped"
    exec 3<&0
    unshare --user --mount sh -c 'echo $$ > "$1/up"; read -r _ < "$1/mapped"; shift; exec sh -ec "$@"' sh "$pipes" \
        "$ENTER" sh "$(emulator)" "$root" "$@" <&3 &
    read -r child < "$pipes/up"
    echo "0 0 65536" > "/proc/$child/uid_map"
    echo "0 0 65536" > "/proc/$child/gid_map"
    echo > "$pipes/mapped"
    wait $! || status=$?
    rm -r "$pipes"
    return $status
}

make_root() {
    local kept=$CACHE/arm64-root.tar names
    if [ ! -e "$kept" ]; then
        rm -rf "$root" && mkdir -p "$root/debs"
        # As every Debian since 12 has it.
        local folder
        for folder in bin sbin lib; do mkdir -p "$root/usr/$folder" && ln -s "usr/$folder" "$root/$folder"; done
        foreign_apt apt-arm64 arm64 apt-get update >&2 || skip "no index of arm64 packages"
        names=$(foreign_apt apt-arm64 arm64 apt-get install -y --no-install-recommends --print-uris \
            adduser base-files base-passwd coreutils dash debianutils diffutils dpkg findutils grep init-system-helpers libc-bin sed |
            awk '$1 ~ /^\047/ { sub(/_.*/, "", $2); if ($2 != "usrmerge") print $2 }')
        # shellcheck disable=SC2086
        (cd "$root/debs" && foreign_apt apt-arm64 arm64 apt-get download $names >&2) || skip "the packages cannot be fetched"
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
