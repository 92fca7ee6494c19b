#!/usr/bin/env bash
# Prints the environment of a cross build, for a shell to take:
#
#     environment=$(targets/cross.sh aarch64) && eval "$environment"
#     cargo --config targets/rpi4/cargo.toml build --release
#
# The argument is aarch64 or armv7. Exit code 77 and a line that begins with SKIPPED where no toolchain can be had.
#
# What is already there is used: a compiler that knows the target, the cross gcc, QEMU. What is missing is fetched from Debian's
# archive and unpacked, not installed, below $NFORMER_EDGE_CROSS (default: ~/.cache/nformer-edge/cross, 1.2 GB). That needs
# no rights and leaves the system alone. The compiler fetched is Debian's `rustc-web`, and its standard library for arm64
# comes from an apt of its own, so that the system never hears of a foreign architecture. For armv7 it is built from source
# (`rust-web-src`, -Zbuild-std): Debian's is for processors without NEON, and mirrors do not always have a whole index of armhf.
set -euo pipefail

case ${1:-} in
aarch64) TARGET=aarch64-unknown-linux-gnu TOOLS=aarch64-linux-gnu QEMU=qemu-aarch64-static LIBC=libc6-dev-arm64-cross ;;
armv7) TARGET=armv7-unknown-linux-gnueabihf TOOLS=arm-linux-gnueabihf QEMU=qemu-arm-static LIBC=libc6-dev-armhf-cross ;;
*)
    echo "usage: $0 aarch64|armv7" >&2
    exit 2
    ;;
esac

PURPOSE="cross build for $TARGET"
# shellcheck source=targets/packages.sh
. "$(dirname "$0")/packages.sh"

can_build_std() { [ -e "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std/Cargo.toml" ]; }

# The compiler with the standard libraries of this machine and of arm64.
fetch_compiler() {
    packages rustc-web
    foreign_apt apt-arm64 arm64 apt-get update >&2 || skip "no index of arm64 packages"
    # Both standard libraries from the one source package, as the compiler demands.
    local version
    version=$(apt-cache show libstd-rust-web-dev | awk '$1 == "Version:" { print $2; exit }')
    (cd "$CACHE/debs" && foreign_apt apt-arm64 arm64 apt-get download "libstd-rust-web-dev:arm64=$version" >&2) ||
        skip "no standard library for arm64"
    unpack "$ROOT"
}

RUSTC=${RUSTC:-rustc}
usable() { knows_target "$1" $TARGET || { [ $TARGET != aarch64-unknown-linux-gnu ] && can_build_std "$1"; }; }
if ! usable "$RUSTC"; then
    RUSTC=$BIN/rustc
    [ -x "$ROOT/usr/bin/rustc" ] || fetch_compiler
    wrap rustc
    if [ $TARGET != aarch64-unknown-linux-gnu ] && ! usable "$RUSTC"; then
        packages rust-web-src
        mkdir -p "$ROOT/usr/lib/rustlib/src"
        ln -sfn "$(ls -d "$ROOT"/usr/src/rustc-*)" "$ROOT/usr/lib/rustlib/src/rust"
    fi
    usable "$RUSTC" || skip "the fetched compiler does not know it; remove $CACHE to fetch it again"
fi
headers=/usr/$TOOLS/include
if ! { have $TOOLS-gcc && [ -e $headers/linux/videodev2.h ]; }; then
    [ -x "$ROOT/usr/bin/$TOOLS-gcc" ] || packages gcc-$TOOLS $LIBC
    for tool in "$ROOT/usr/bin/$TOOLS"-*; do
        case ${tool##*/} in
        *-gcc | *-gcc-[0-9]*) wrap "${tool##*/}" --sysroot="$ROOT" ;;
        *) wrap "${tool##*/}" ;;
        esac
    done
    headers=$ROOT/usr/$TOOLS/include
fi
if ! have $QEMU; then
    [ -x "$ROOT/usr/bin/$QEMU" ] || packages qemu-user-static
    wrap $QEMU
fi

cat <<VARIABLES
export PATH=$BIN:\$PATH
export RUSTC=$RUSTC
export BINDGEN_EXTRA_CLANG_ARGS_${TARGET//-/_}=-I$headers
export NFORMER_EDGE_CROSS=$CACHE
export CROSS_SYSROOT=${headers%/usr/"$TOOLS"/include}/usr/$TOOLS
VARIABLES
