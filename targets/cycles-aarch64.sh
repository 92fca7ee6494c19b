#!/usr/bin/env bash
# Estimates what the convolutions of src/int8 cost on a Cortex-A72 (Raspberry Pi 4) and a Cortex-A76 (Raspberry Pi 5): compiles
# them as the board's own build does, finds their inner loops, and asks llvm-mca for cycles. An upper bound of the speed, not a
# measurement: every load hits the first cache. Exit code 77 means that there is no toolchain.
#
#     targets/cycles-aarch64.sh [folder that keeps the assembly, the loops and llvm-mca's full reports]
#
# The compiler comes from targets/cross.sh. llvm-mca is the newest one of the system, from version 16 on, else Debian's
# llvm-19, unpacked beside the compiler. Until LLVM 22 the scheduling models of both processors are that of the
# Cortex-A57. For the A72 that fits: the same units, and targets/cycles.py sets the widths. For the A76 it does not: here the
# Neoverse N1's stands in, the same core for servers (known from version 16 on).
set -euo pipefail

TARGET=aarch64-unknown-linux-gnu
HERE=$(cd "$(dirname "$0")/.." && pwd)

environment=$("$HERE/targets/cross.sh" aarch64)
eval "$environment"
PURPOSE="estimates for aarch64"
# shellcheck source=targets/packages.sh
. "$HERE/targets/packages.sh"
have python3 || skip "no python3"

# The newest llvm-mca that knows the Neoverse N1.
newest_mca() {
    local program
    for program in $(compgen -c llvm-mca | sort -Vru); do
        if "$program" -mtriple=$TARGET -mcpu=neoverse-n1 <<< 'nop' 2>/dev/null | grep -q N1Unit; then
            echo "$program"
            return
        fi
    done
    return 1
}
if ! MCA=$(newest_mca); then
    packages llvm-19
    wrap llvm-mca-19
    MCA=$(newest_mca) || skip "no llvm-mca that knows the Neoverse N1"
fi

CRATE=$(mktemp -d)
trap 'rm -rf "$CRATE"' EXIT
KEEP=${1:-$CRATE/kept}
mkdir -p "$CRATE/src" "$KEEP"
KEEP=$(cd "$KEEP" && pwd)
ln -s "$HERE/src/kernels.rs" "$HERE/src/kernels" "$HERE/src/int8" "$CRATE/src/"
echo '//! The kernels alone.
pub mod kernels;
pub mod int8 {
    //! The convolutions of bytes, without what needs `tract`.
    mod arch;
    pub mod bench;
    mod conv;
    mod depthwise;
    mod requantise;
    mod tensor;
}' > "$CRATE/src/lib.rs"
printf '[package]\nname = "kernels"\nversion = "0.0.0"\nedition = "2024"\n\n' > "$CRATE/Cargo.toml"
sed -n '/^\[profile.release/,/^$/p' "$HERE/Cargo.toml" >> "$CRATE/Cargo.toml"

# assembly BOARD: compiles for it, with the flags of its build half.
assembly() {
    local flags
    flags=$(sed -n 's/^rustflags = \[\(.*\)\]$/\1/p' "$HERE/targets/$1/cargo.toml" | sed 's/", *"/ /g; s/"//g')
    [ -n "$flags" ] || skip "targets/$1/cargo.toml names no rustflags"
    # One unit, so that there is one file. Nothing is linked.
    # shellcheck disable=SC2086
    (cd "$CRATE" && cargo rustc --quiet --release --offline --target $TARGET --target-dir "$CRATE/target" --lib -- \
        $flags --emit "asm=$KEEP/$1.s" -C codegen-units=1 --cap-lints allow)
}

echo "$("$RUSTC" --version), $("$MCA" --version | grep -o 'LLVM version.*')"
assembly rpi4
assembly rpi5
python3 "$HERE/targets/cycles.py" "$MCA" "$KEEP"
