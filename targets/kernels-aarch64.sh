#!/usr/bin/env bash
# Runs the tests of src/kernels and of the convolutions of src/int8 for aarch64 under QEMU, once as a Cortex-A72
# (Raspberry Pi 4) and once as a Cortex-A76 (Raspberry Pi 5, with the dot product instructions). Exit code 0 means that
# both passed, 77 that there is no toolchain.
#
#     targets/kernels-aarch64.sh [filter of test names]
#
# The kernels are built as a crate of their own in a temporary folder, without the dependencies of the program.
# What is already there is used: a compiler that knows the target, aarch64-linux-gnu-gcc and qemu-aarch64-static. What is
# missing is fetched from Debian's archive and unpacked, not installed, below $NFORMER_EDGE_CROSS (default:
# ~/.cache/nformer-edge/cross, 0.9 GB). That needs no rights and leaves the system alone. PROPTEST_CASES (default 24) is the
# number of random cases for each property: QEMU is some hundred times slower than a board.
set -euo pipefail

TARGET=aarch64-unknown-linux-gnu
CPUS=(cortex-a72 cortex-a76)
HERE=$(cd "$(dirname "$0")/.." && pwd)
CACHE=${NFORMER_EDGE_CROSS:-${XDG_CACHE_HOME:-$HOME/.cache}/nformer-edge/cross}
ROOT=$CACHE/root

skip() {
    echo "SKIPPED: kernels for aarch64 not tested: $1" >&2
    exit 77
}

knows_target() { [ -n "$(ls "$("$1" --print target-libdir --target $TARGET 2>/dev/null)"/libstd-*.rlib 2>/dev/null)" ]; }

# unpack FILE...: Debian packages into the cache.
unpack() { for file in "$@"; do dpkg-deb -x "$file" "$ROOT"; done; }

# An apt that knows only arm64, beside the system's own.
foreign_apt() {
    local apt=$CACHE/apt-arm64
    mkdir -p "$apt"/{etc/apt/preferences.d,etc/apt/apt.conf.d,etc/apt/sources.list.d,state/lists/partial,cache/archives/partial}
    : > "$apt/status"
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n 's/^deb \(\[[^]]*\] \)\?/deb [arch=arm64] /p' \
        > "$apt/etc/apt/sources.list" || true
    cp /etc/apt/sources.list.d/*.sources "$apt/etc/apt/sources.list.d/" 2>/dev/null || true
    cat > "$apt/apt.conf" <<CONF
APT::Architecture "arm64"; APT::Architectures { "arm64"; };
Dir::Etc "$apt/etc/apt"; Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d"; Acquire::Languages "none"; Acquire::Retries "3";
CONF
    APT_CONFIG=$apt/apt.conf "$@"
}

fetch() {
    { have apt-get && have dpkg-deb; } || skip "no compiler for $TARGET here, and no apt to fetch one with"
    rm -rf "$ROOT" "$CACHE/debs" && mkdir -p "$ROOT" "$CACHE/debs" && cd "$CACHE/debs"
    # What the system has not got, dependencies included. Nothing is installed by --print-uris.
    local wanted=(rustc-web gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static) names
    names=$(apt-get install -y --no-install-recommends --print-uris "${wanted[@]}" 2>/dev/null |
        awk '$1 ~ /^\047/ { sub(/_.*/, "", $2); print $2 }') || skip "apt does not know ${wanted[*]} (apt-get update?)"
    # shellcheck disable=SC2086
    apt-get download $names || skip "the packages cannot be fetched"
    local version
    version=$(dpkg-deb -f "$(ls libstd-rust-web-dev_*_amd64.deb)" Version)
    foreign_apt apt-get update || skip "no index of arm64 packages"
    foreign_apt apt-get download "libstd-rust-web-dev:arm64=$version" || skip "no standard library for $TARGET"
    unpack ./*.deb
    cd "$HERE" && rm -rf "$CACHE/debs"
    touch "$ROOT/complete"
}

have() { command -v "$1" >/dev/null; }

# wrap NAME: a fetched program that finds its libraries, which nothing else may inherit.
wrap() {
    [ -x "$ROOT/usr/bin/$1" ] || skip "no $1; remove $CACHE to fetch it again"
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s PATH=%s:$PATH exec %s "$@"\n' \
        "$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/usr/lib" "$ROOT/usr/bin" "$ROOT/usr/bin/$1" > "$CACHE/$1"
    chmod +x "$CACHE/$1"
    echo "$CACHE/$1"
}

# tool NAME: the system's, or the fetched one.
tool() { command -v "$1" || wrap "$1"; }

export RUSTC=${RUSTC:-rustc}
if ! { knows_target "$RUSTC" && have aarch64-linux-gnu-gcc && have qemu-aarch64-static; }; then
    [ -e "$ROOT/complete" ] || fetch
fi
if ! knows_target "$RUSTC"; then
    RUSTC=$(wrap rustc)
    knows_target "$RUSTC" || skip "the fetched compiler does not know $TARGET; remove $CACHE to fetch it again"
fi
LINKER=$(tool aarch64-linux-gnu-gcc)
QEMU=$(tool qemu-aarch64-static)

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
linker = "$LINKER"
rustflags = ["-C", "target-feature=+crt-static"]
CONF

cd "$CRATE"
for cpu in "${CPUS[@]}"; do
    echo "== $TARGET, $cpu under QEMU"
    # Always a named processor: QEMU's default has instructions that no board has.
    env CARGO_TARGET_DIR="$CACHE/target" PROPTEST_CASES="${PROPTEST_CASES:-24}" \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$QEMU -cpu $cpu" \
        cargo test --quiet --target $TARGET --lib -- --nocapture "$@"
done
