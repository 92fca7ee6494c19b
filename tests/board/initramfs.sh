#!/usr/bin/env bash
# initramfs.sh OUT [SOURCE:PATH ...]: the guest's file system: busybox, the kernel's modules with what they need, init, and the
# files named (a folder is copied whole). $BOARD and $KERNEL come from fetch.sh.
set -euo pipefail

OUT=$1
shift
HERE=$(cd "$(dirname "$0")" && pwd)
MODULES=(vivid v4l2loopback uvcvideo vhci_hcd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{bin,dev,proc,sys,tmp,modules,lib,etc}
cp "$BOARD/root/bin/busybox" "$work/bin/"
ln -s busybox "$work/bin/sh"

# An order file a module: insmod knows nothing of dependencies.
updates=$BOARD/root/lib/modules/$KERNEL/updates
mkdir -p "$updates"
cmp -s "$BOARD/v4l2loopback/v4l2loopback.ko" "$updates/v4l2loopback.ko" || {
    cp "$BOARD/v4l2loopback/v4l2loopback.ko" "$updates/"
    depmod -b "$BOARD/root" "$KERNEL"
}
for module in "${MODULES[@]}"; do
    modprobe -d "$BOARD/root" -S "$KERNEL" --show-depends "$module" | awk '$1 == "insmod" { print $2 }' |
        while read -r file; do
            name=$(basename "${file%.xz}")
            if [ ! -e "$work/modules/$name" ]; then
                case $file in
                *.xz) xz -dc "$file" > "$work/modules/$name" ;;
                *) cp "$file" "$work/modules/$name" ;;
                esac
            fi
            echo "$name"
        done > "$work/modules/$module.order"
done

cp "$HERE/init" "$work/init"
chmod +x "$work/init"
for entry in "$@"; do
    mkdir -p "$work/$(dirname "${entry#*:}")"
    cp -rL "${entry%%:*}" "$work/${entry#*:}"
done
(cd "$work" && find . | cpio -o -H newc --quiet | gzip -1) > "$OUT"
