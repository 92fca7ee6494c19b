#!/usr/bin/env bash
# The emulated board: the product, built for Arm, in a QEMU machine with a Debian kernel, from V4L2 to a serial port whose other
# end is here.
#
#     tests/board/run.sh [user] [formats] [faults] [clip] [usb] [armv7]
#
# `user` needs no machine: the program as a process under QEMU's user emulation, with the shipped models. `armv7` is both for 32-bit
# Arm, with the program as it is packaged. Without an argument, all; `armv7` only where it was built before, because the
# dependencies take their time.
#
# What is missing (cross toolchain, kernel, QEMU) is fetched below $NFORMER_EDGE_CROSS (default: ~/.cache/nformer-edge/cross) and
# kept there, the cross builds too. Exit code 0: all holds; 77 and a line that begins with SKIPPED: something could not be had.
set -euo pipefail

cd "$(dirname "$0")/../.."
HERE=$PWD/tests/board
OUT=$PWD/target/board

step() { printf '\n== %s\n' "$*"; }
wanted() { [[ " ${scenarios[*]} " = *" $1 "* ]]; }

step "toolchain, kernel, QEMU"
environment=$("$HERE/fetch.sh")
mkdir -p "$OUT"
cache=$(eval "$environment" && echo "$NFORMER_EDGE_CROSS")

scenarios=("$@")
left_out=
if [ $# = 0 ]; then
    scenarios=(user formats faults clip usb)
    if [ -x "$cache/target-armv7/armv7-unknown-linux-gnueabihf/shipping/nformer-edge" ]; then
        scenarios+=(armv7)
    else
        left_out="!! SKIPPED: armv7: the program for 32-bit Arm was NOT tried, it was not built before (tests/board/run.sh armv7 builds it)"
        echo "$left_out"
    fi
fi
# Those that boot the machine with the product for arm64.
boots=()
for scenario in "${scenarios[@]}"; do
    case $scenario in
    formats | faults | clip | usb) boots+=("$scenario") ;;
    user | armv7) ;;
    *) sed -n '5s/^# *//p' "$0" >&2 && exit 2 ;;
    esac
done

(
    eval "$environment"
    for helper in video uvc; do
        aarch64-linux-gnu-gcc -static -O2 -Wall -Wno-unused-function -o "$OUT/$helper" "$HERE/$helper.c"
    done
)

# The product for arm64, and once more with the instructions of a Raspberry Pi 5, to be refused by an older processor. For that one
# only `main` and what belongs to it is compiled anew, so that it takes seconds: nothing of the library runs before the processor
# was looked at.
build_arm64() (
    eval "$environment"
    export CARGO_TARGET_DIR=$cache/target-board
    local product=$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/release/nformer-edge
    cross() { cargo "$1" --config targets/rpi4/cargo.toml --release --locked ${JOBS:+-j "$JOBS"} "${@:2}"; }
    cross build
    aarch64-linux-gnu-strip -o "$OUT/nformer-edge" "$product"
    qemu-aarch64-static -L "$CROSS_SYSROOT" -cpu cortex-a72 "$OUT/nformer-edge" --version
    cross rustc --config 'env.NFORMER_EDGE_BOARD="rpi5"' --bin nformer-edge -- -C target-feature=+lse,+rdm,+fp16,+dotprod,+rcpc,+dpb
    aarch64-linux-gnu-strip -o "$OUT/nformer-edge-rpi5" "$product"
    ls -l "$OUT/nformer-edge"
)
if [ ${#boots[@]} -gt 0 ] || wanted user; then
    step "the product for arm64"
    build_arm64
fi
if wanted armv7; then
    step "the product for 32-bit Arm"
    built=$(NFORMER_EDGE_CROSS=$cache CARGO_TARGET_DIR=$cache/target-armv7 targets/package.sh --binary armv7 | tail -1)
    cp "$built" "$OUT/nformer-edge-armv7"
    environment_armv7=$(targets/cross.sh armv7)
    ls -l "$OUT/nformer-edge-armv7"
fi

step "the product for this machine"
folder=${CARGO_TARGET_DIR:-$PWD/target}
if [ -x "$folder/release/nformer-edge" ]; then
    cargo build --release --locked ${JOBS:+-j "$JOBS"}
    host=$folder/release/nformer-edge
else
    cargo build --locked ${JOBS:+-j "$JOBS"}
    host=$folder/debug/nformer-edge
fi

python3 "$HERE/tiny.py" "$OUT/tiny"
python3 "$HERE/pictures.py" "$OUT"

if wanted user; then
    step "the product as a process: the sightings of int8 models on two processors"
    (
        eval "$environment"
        python3 "$HERE/user.py" "$OUT" "$host" arm64 qemu-aarch64-static -L "$CROSS_SYSROOT"
    )
fi
if wanted armv7; then
    step "the product as a process of 32 bits"
    (
        eval "$environment_armv7"
        python3 "$HERE/user.py" "$OUT" "$host" armv7 qemu-arm-static -L "$CROSS_SYSROOT"
    )
fi

# file_system NAME PRODUCT: what the guest finds.
models=()
for model in person_detector/nanodet_g_416x320_int8.onnx reid_backbone/mobilenetv2_reid_int8.onnx nformer/nformer.safetensors; do
    models+=("models/$model:models/$model" "models/${model%/*}/card.toml:models/${model%/*}/card.toml")
done
file_system() {
    local libraries=() library script
    for library in $(readelf --dynamic --wide "$OUT/$2" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'); do
        libraries+=("$CROSS_SYSROOT/lib/$library:lib/$library")
    done
    local scripts=()
    for script in formats faults clip usb armv7 vivid through; do
        scripts+=("$HERE/$script.sh:board/$script.sh")
    done
    "$HERE/initramfs.sh" "$OUT/$1" "${libraries[@]}" "${models[@]}" "${scripts[@]}" "$OUT/$2:bin/nformer-edge" \
        "$OUT/video:bin/video" "$OUT/uvc:bin/uvc" "$OUT/tiny:board/tiny" "$OUT/clip:board/clip" "$OUT/raw:board/raw"
    ls -l "$OUT/$1"
}
eval "$environment"
if [ ${#boots[@]} -gt 0 ]; then
    step "file system of the guest"
    file_system initramfs nformer-edge
fi
if wanted armv7; then
    step "file system of the guest, 32 bits"
    (eval "$environment_armv7" && file_system initramfs-armv7 nformer-edge-armv7)
    boots+=(armv7)
fi
if [ ${#boots[@]} -gt 0 ]; then
    step "the board: ${boots[*]}"
    python3 "$HERE/check.py" "$OUT" "$host" "$BOARD/root/boot/vmlinuz-$KERNEL" "${boots[@]}"
fi
[ -z "$left_out" ] || printf '\n%s\n' "$left_out"
