#!/usr/bin/env bash
# Runs the tests of src/kernels and of the convolutions of src/int8 for aarch64 under QEMU, once as a Cortex-A72
# (Raspberry Pi 4) and once as a Cortex-A76 (Raspberry Pi 5, with the dot product instructions). Exit code 0 means that
# both passed, 77 that there is no toolchain.
#
#     targets/kernels-aarch64.sh [filter of test names]
#
# The kernels are built as a crate of their own in a temporary folder, without the dependencies of the program.
# The toolchain comes from targets/cross.sh, which fetches what is missing. PROPTEST_CASES (default 24) is the number of random
# cases for each property: QEMU is some hundred times slower than a board.
set -euo pipefail

TARGET=aarch64-unknown-linux-gnu
CPUS=(cortex-a72 cortex-a76)
HERE=$(cd "$(dirname "$0")/.." && pwd)

environment=$("$HERE/targets/cross.sh" aarch64)
eval "$environment"

CRATE=$(mktemp -d)
trap 'rm -rf "$CRATE"' EXIT
mkdir -p "$CRATE/src" "$CRATE/.cargo"
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
cp "$HERE/Cargo.lock" "$CRATE/"
sed -n '/^\[profile.dev/,/^$/p' "$HERE/Cargo.toml" > "$CRATE/profiles"
cat - "$CRATE/profiles" > "$CRATE/Cargo.toml" <<CONF
[package]
name = "kernels"
version = "0.0.0"
edition = "2024"

[dev-dependencies]
$(grep '^proptest = ' "$HERE/Cargo.toml")

CONF
# Linked statically: nothing of the target has to be found when it runs.
cat > "$CRATE/.cargo/config.toml" <<CONF
[target.$TARGET]
linker = "aarch64-linux-gnu-gcc"
rustflags = ["-C", "target-feature=+crt-static"]
CONF

cd "$CRATE"
for cpu in "${CPUS[@]}"; do
    echo "== $TARGET, $cpu under QEMU"
    # Always a named processor: QEMU's default has instructions that no board has.
    env CARGO_TARGET_DIR="$NFORMER_EDGE_CROSS/target" PROPTEST_CASES="${PROPTEST_CASES:-24}" \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -cpu $cpu" \
        cargo test --quiet --target $TARGET --lib -- --nocapture "$@"
done
