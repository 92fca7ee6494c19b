#!/usr/bin/env bash
# Builds the Debian package of a board: target/packages/nformer-edge_VERSION_BOARD_ARCHITECTURE.deb
#
#     targets/package.sh rpi4 [rpi5 jetson-orin ...]
#     targets/package.sh --binary armv7                 the program alone; its path is the last line
#
# Linked against glibc 2.27, so that one file runs from Ubuntu 18.04 (Jetson Nano) on; thin LTO, stripped. The linker is zig's, which
# knows every version of glibc (PyPI: ziglang, driven by cargo-zigbuild); the package is made by cargo-deb. Both are fetched
# into the cache of targets/cross.sh. Exit code 77 where something cannot be fetched.
set -euo pipefail

GLIBC=2.27
ZIG_PACKAGES="ziglang==0.17.1 cargo-zigbuild==0.24.0"
CARGO_DEB=3.8.0
HERE=$(cd "$(dirname "$0")/.." && pwd)
cd "$HERE"
binary_only=no
[ "${1:-}" != --binary ] || { binary_only=yes && shift; }
[ $# -gt 0 ] || { sed -n '4,5s/^# *//p' "$0" >&2; exit 2; }

PURPOSE="packages for $*"
# shellcheck source=targets/packages.sh
. targets/packages.sh

fetch_tools() {
    if [ ! -x "$CACHE/zig/bin/cargo-zigbuild" ]; then
        # shellcheck disable=SC2086
        python3 -m venv "$CACHE/zig" && "$CACHE/zig/bin/pip" install -q $ZIG_PACKAGES >&2 || skip "no zig"
    fi
    if [ "$binary_only" = no ] && [ ! -x "$CACHE/cargo-deb/bin/cargo-deb" ]; then
        cargo install cargo-deb@$CARGO_DEB --locked --root "$CACHE/cargo-deb" >&2 || skip "no cargo-deb"
    fi
}

# A cross linker by the name that the boards' build halves use.
wrap_zig() {
    mkdir -p "$CACHE/zig/linkers"
    printf '#!/bin/sh\nPATH=%s:$PATH exec %s zig cc -- -g -target %s.%s "$@"\n' \
        "$CACHE/zig/bin" "$CACHE/zig/bin/cargo-zigbuild" "$2" "$GLIBC" > "$CACHE/zig/linkers/$1-gcc"
    chmod +x "$CACHE/zig/linkers/$1-gcc"
}

build() {
    local board=$1 triple tools
    triple=$(sed -n 's/^target = "\(.*\)"/\1/p' "targets/$board/cargo.toml")
    case $triple in
    aarch64-*) tools=aarch64-linux-gnu ;;
    armv7-*) tools=arm-linux-gnueabihf ;;
    *) echo "targets/$board names no target that packages are made for" >&2 && exit 2 ;;
    esac
    (
        environment=$(targets/cross.sh "${triple%%-*}") || exit $?
        eval "$environment"
        wrap_zig $tools $tools
        export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HERE/target}
        # Where there is no standard library of the target, it is built too (targets/cross.sh).
        extra=()
        if ! knows_target "$RUSTC" "$triple"; then
            export RUSTC_BOOTSTRAP=1
            extra=("-Zbuild-std=std,panic_unwind")
        fi
        # By its path: the compiler of targets/cross.sh looks for programs in its own places first.
        cargo --config "targets/$board/cargo.toml" --config "target.$triple.linker='$CACHE/zig/linkers/$tools-gcc'" \
            build --profile shipping --locked --bin nformer-edge ${JOBS:+-j "$JOBS"} "${extra[@]}"
        [ "$binary_only" = no ] || { echo "$CARGO_TARGET_DIR/$triple/shipping/nformer-edge" && exit; }
        # cargo-deb copies what stands here; the run half differs from board to board.
        mkdir -p target/packages/parts
        cp "targets/$board/nformer-edge.toml" target/packages/parts/nformer-edge.toml
        "$CACHE/cargo-deb/bin/cargo-deb" --no-build --no-strip --profile shipping --target "$triple" --locked \
            --output target/packages/parts/
    )
    [ "$binary_only" = no ] || return 0
    local made
    made=$(ls target/packages/parts/*.deb)
    local name=${made##*/}
    mv "$made" "target/packages/${name%_*}_${board}_${name##*_}"
    ls "target/packages/${name%_*}_${board}_${name##*_}"
}

fetch_tools
for board in "$@"; do build "$board"; done
