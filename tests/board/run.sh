#!/usr/bin/env bash
# The emulated board: the product, built for arm64, in a QEMU machine with a Debian kernel, from V4L2 to a serial port whose other
# end is here.
#
#     tests/board/run.sh [user] [formats] [faults] [clip] [usb]        all five without an argument
#
# `user` needs no machine: the program as a process under QEMU's user emulation, with the shipped models.
#
# What is missing (cross toolchain, kernel, QEMU) is fetched below $NFORMER_EDGE_CROSS (default: ~/.cache/nformer-edge/cross) and
# kept there, the cross build too. Exit code 0: all holds; 77 and a line that begins with SKIPPED: something could not be had.
set -euo pipefail

cd "$(dirname "$0")/../.."
HERE=$PWD/tests/board
OUT=$PWD/target/board
scenarios=("$@")
[ $# -gt 0 ] || scenarios=(user formats faults clip usb)

step() { printf '\n== %s\n' "$*"; }

step "toolchain, kernel, QEMU"
environment=$("$HERE/fetch.sh")
mkdir -p "$OUT"

step "the product for arm64"
cross() (
    eval "$environment"
    export CARGO_TARGET_DIR=$NFORMER_EDGE_CROSS/target-board
    cargo "$1" --config targets/rpi4/cargo.toml --release --locked ${JOBS:+-j "$JOBS"} "${@:2}"
)
product=target-board/aarch64-unknown-linux-gnu/release/nformer-edge
cross build
(
    eval "$environment"
    aarch64-linux-gnu-strip -o "$OUT/nformer-edge" "$NFORMER_EDGE_CROSS/$product"
    qemu-aarch64-static -L "$CROSS_SYSROOT" -cpu cortex-a72 "$OUT/nformer-edge" --version
    for helper in video uvc; do
        aarch64-linux-gnu-gcc -static -O2 -Wall -Wno-unused-function -o "$OUT/$helper" "$HERE/$helper.c"
    done
)
# The program once more with the instructions of a Raspberry Pi 5, to be refused by an older processor. Only `main` and what belongs
# to it is compiled anew, so that this takes seconds: nothing of the library runs before the processor was looked at.
cross rustc --config 'env.NFORMER_EDGE_BOARD="rpi5"' --bin nformer-edge -- -C target-feature=+lse,+rdm,+fp16,+dotprod,+rcpc,+dpb
(
    eval "$environment"
    aarch64-linux-gnu-strip -o "$OUT/nformer-edge-rpi5" "$NFORMER_EDGE_CROSS/$product"
)
ls -l "$OUT/nformer-edge"

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
eval "$environment"
machines=()
for scenario in "${scenarios[@]}"; do
    [ "$scenario" = user ] || machines+=("$scenario")
done
if [ ${#machines[@]} -lt ${#scenarios[@]} ]; then
    step "the product as a process: the sightings of int8 models on two processors"
    python3 "$HERE/user.py" "$OUT" "$host" qemu-aarch64-static -L "$CROSS_SYSROOT"
fi
[ ${#machines[@]} -gt 0 ] || exit 0

step "file system of the guest"
libraries=()
for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1; do
    libraries+=("$CROSS_SYSROOT/lib/$library:lib/$library")
done
models=()
for model in person_detector/nanodet_g_416x320_int8.onnx reid_backbone/mobilenetv2_reid_int8.onnx nformer/nformer.safetensors; do
    models+=("models/$model:models/$model" "models/${model%/*}/card.toml:models/${model%/*}/card.toml")
done
"$HERE/initramfs.sh" "$OUT/initramfs" "${libraries[@]}" "${models[@]}" \
    "$OUT/nformer-edge:bin/nformer-edge" "$OUT/video:bin/video" \
    "$OUT/uvc:bin/uvc" "$HERE/formats.sh:board/formats.sh" "$HERE/faults.sh:board/faults.sh" \
    "$HERE/clip.sh:board/clip.sh" "$HERE/usb.sh:board/usb.sh" \
    "$OUT/tiny:board/tiny" "$OUT/clip:board/clip" "$OUT/raw:board/raw"
ls -l "$OUT/initramfs"

step "the board: ${machines[*]}"
python3 "$HERE/check.py" "$OUT" "$host" "$BOARD/root/boot/vmlinuz-$KERNEL" "${machines[@]}"
