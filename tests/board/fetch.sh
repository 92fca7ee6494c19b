#!/usr/bin/env bash
# Fetches what the emulated board is made of and prints its environment, for run.sh: QEMU, a Debian kernel for arm64 with the
# modules vivid and v4l2loopback (this one built here), and busybox. Debian packages, unpacked and not
# installed, below $NFORMER_EDGE_CROSS/board (0.3 GB). Exit code 77 and a line that begins with SKIPPED where they cannot be had.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/../.." && pwd)
PURPOSE="emulated board"
# shellcheck source=targets/packages.sh
. "$HERE/targets/packages.sh"
BOARD=$CACHE/board

# Debian's archive as this machine knows it; elsewhere the official one, if its keys are there.
sources() {
    local key=/usr/share/keyrings/debian-archive-keyring.gpg mirror
    [ -e $key ] || key=/usr/share/keyrings/debian-archive-keyring.pgp
    [ -e $key ] || skip "no keys of Debian's archive (package debian-archive-keyring)"
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        awk '$1 == "URIs:" { print $2 } $1 == "deb" { sub(/\[[^]]*\] */, ""); print $2 }' | grep -m1 -E '/debian/?$' || true)
    mirror=${mirror:-http://deb.debian.org/debian}
    # Bookworm's own kernel lacks vivid. Its backport comes with build tools that run on bookworm and whatever is newer;
    # v4l2loopback is source code and fits every kernel.
    printf 'deb [arch=arm64,amd64 signed-by=%s] %s %s main\n' $key "$mirror" bookworm-backports $key "$mirror" bookworm \
        $key "$mirror" trixie
}

# A kernel whose folder stands in its package's name: the newest of the backports.
fetch_kernel() {
    SOURCES=$(sources)
    export SOURCES
    local apt=(foreign_apt apt-board arm64,amd64)
    "${apt[@]}" apt-get update >&2 || skip "no index of arm64 packages"
    local name
    name=$("${apt[@]}" apt-cache show linux-image-arm64 |
        sed -n 's/^Depends: linux-image-\([0-9.]*+deb12[0-9.]*\)-arm64.*/\1/p' | sort -V | tail -1)
    [ -n "$name" ] || skip "Debian's backports have no kernel for arm64"
    (cd "$CACHE/debs" && "${apt[@]}" apt-get download "linux-image-$name-arm64" "linux-headers-$name-arm64" \
        "linux-headers-$name-common" "linux-kbuild-$name:amd64" v4l2loopback-dkms/trixie busybox-static/bookworm >&2) ||
        skip "the kernel's packages cannot be fetched"
    rm -rf "$BOARD" && unpack "$BOARD/root"
    depmod -b "$BOARD/root" "$name-arm64"
    build_loopback "$name-arm64"
    echo "$name-arm64" > "$BOARD/complete"
}

# build_loopback KERNEL: v4l2loopback for it. Its makefile holds an absolute path; the type information of the module would
# need another tool and is of no use here.
build_loopback() {
    local headers=$BOARD/root/usr/src/linux-headers-$1
    sed -i "s#^include /usr/src/#include $BOARD/root/usr/src/#" "$headers/Makefile"
    cp -r "$BOARD"/root/usr/src/v4l2loopback-* "$BOARD/v4l2loopback"
    make -s -C "$headers" M="$BOARD/v4l2loopback" CC=aarch64-linux-gnu-gcc CONFIG_DEBUG_INFO_BTF_MODULES= modules >&2 ||
        skip "v4l2loopback cannot be built for kernel $1"
}

# tool NAME PACKAGE: fetched where the system has it not.
tool() {
    have "$1" && return
    packages "$2"
    local found
    found=$(ls "$ROOT"/{usr/,}{bin,sbin}/"${3:-$1}" 2>/dev/null | head -1 || true)
    [ -n "$found" ] || skip "$1 is not in $2"
    [ -e "$ROOT/usr/bin/$1" ] || ln -sf "$found" "$ROOT/usr/bin/$1"
    wrap "$1"
}

environment=$("$HERE/targets/cross.sh" aarch64)
eval "$environment"
PATH=$PATH:/usr/sbin:/sbin
have python3 || skip "python3 is missing"
# One program of many names, which its package links to by absolute paths.
tool depmod kmod kmod
tool modprobe kmod kmod
tool cpio cpio
tool xz xz-utils
tool make make
[ -e "$BOARD/complete" ] || fetch_kernel
if ! have qemu-system-aarch64; then
    [ -x "$ROOT/usr/bin/qemu-system-aarch64" ] || packages qemu-system-arm
    wrap qemu-system-aarch64
fi
cat <<VARIABLES
$environment
export PATH=\$PATH:/usr/sbin:/sbin
export BOARD=$BOARD
export KERNEL=$(cat "$BOARD/complete")
VARIABLES
