# For other scripts to source: Debian packages without installing them. What the system lacks is downloaded and unpacked below
# $NFORMER_EDGE_CROSS (default: ~/.cache/nformer-edge/cross). That needs no rights and leaves the system alone.
# shellcheck shell=bash

CACHE=${NFORMER_EDGE_CROSS:-${XDG_CACHE_HOME:-$HOME/.cache}/nformer-edge/cross}
ROOT=$CACHE/root
BIN=$CACHE/bin
mkdir -p "$BIN" "$CACHE/debs"

have() { command -v "$1" >/dev/null; }

# knows_target RUSTC TRIPLE: whether the compiler has the target's standard library.
knows_target() { [ -n "$(ls "$("$1" --print target-libdir --target "$2" 2>/dev/null)"/libstd-*.rlib 2>/dev/null)" ]; }

# skip REASON: ends the script, loudly, with the exit code that means "not tried". $PURPOSE says what was not.
skip() {
    echo "SKIPPED: ${PURPOSE:?}: $1" >&2
    exit 77
}

# missing NAME...: what the system has not got of these, dependencies included. Nothing is installed by --print-uris.
missing() {
    apt-get install -y --no-install-recommends --print-uris "$@" 2>/dev/null |
        awk '$1 ~ /^\047/ { sub(/_.*/, "", $2); print $2 }'
}

# packages NAME...: fetches what is missing. An index that is not there or too old is fetched first, where that is allowed.
packages() {
    { have apt-get && have dpkg-deb; } || skip "there is no apt to fetch $* with"
    local names attempt
    for attempt in first second; do
        # shellcheck disable=SC2086
        if names=$(missing "$@") && (cd "$CACHE/debs" && { [ -z "$names" ] || apt-get download $names >&2; }); then
            unpack "$ROOT"
            return
        fi
        [ $attempt = first ] && [ "$(id -u)" = 0 ] && apt-get update >&2 || break
    done
    skip "apt cannot fetch $* (apt-get update?)"
}

# unpack FOLDER: unpacks what was downloaded, and throws the packages away.
unpack() {
    mkdir -p "$1"
    local file
    for file in "$CACHE"/debs/*.deb; do
        [ ! -e "$file" ] || dpkg-deb -x "$file" "$1"
    done
    rm -f "$CACHE"/debs/*.deb
}

# foreign_apt NAME ARCHITECTURES COMMAND...: an apt of its own beside the system's, which never hears of a foreign architecture
# (one stale index of such breaks every `apt-get update`). Its sources are the system's, or those in $SOURCES.
foreign_apt() {
    local apt=$CACHE/$1 architectures=$2
    shift 2
    mkdir -p "$apt"/{etc/apt/preferences.d,etc/apt/apt.conf.d,etc/apt/sources.list.d,state/lists/partial,cache/archives/partial}
    : > "$apt/status"
    if [ -n "${SOURCES:-}" ]; then
        printf '%s\n' "$SOURCES" > "$apt/etc/apt/sources.list"
    else
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            sed -n "s/^deb \(\[[^]]*\] \)\?/deb [arch=$architectures] /p" > "$apt/etc/apt/sources.list" || true
        cp /etc/apt/sources.list.d/*.sources "$apt/etc/apt/sources.list.d/" 2>/dev/null || true
    fi
    cat > "$apt/apt.conf" <<CONF
APT::Architecture "${architectures%%,*}"; APT::Architectures { $(printf '"%s"; ' ${architectures//,/ })};
Dir::Etc "$apt/etc/apt"; Dir::State "$apt/state"; Dir::State::status "$apt/status"; Dir::Cache "$apt/cache";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d"; APT::Sandbox::User "$(id -un)";
Acquire::Languages "none"; Acquire::Retries "3";
CONF
    APT_CONFIG=$apt/apt.conf "$@"
}

# wrap NAME OPTION...: a fetched program that finds its libraries, which nothing else may inherit.
wrap() {
    local name=$1 libraries=$ROOT/usr/lib/$(uname -m)-linux-gnu:$ROOT/lib/$(uname -m)-linux-gnu:$ROOT/usr/lib
    shift
    # Wrapped programs first: the compiler calls a linker, and the bare one does not know its system root.
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s PATH=%s:$PATH exec %s "$@"\n' \
        "$libraries" "$BIN:$ROOT/usr/bin" "$ROOT/usr/bin/$name${*:+ $*}" > "$BIN/.$name.$$"
    chmod +x "$BIN/.$name.$$"
    # Left alone where it is the same: another build may be running it, and cargo looks at its time.
    if cmp -s "$BIN/.$name.$$" "$BIN/$name"; then rm "$BIN/.$name.$$"; else mv "$BIN/.$name.$$" "$BIN/$name"; fi
}
