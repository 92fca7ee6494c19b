#!/usr/bin/env bash
# What is in a package of targets/package.sh, and that it gets onto a board: installed in a Debian root of its architecture, over
# ssh, and through an SD-card image.
#
#     tests/board/packages.sh [PACKAGE.deb]        for arm64 or armhf; without one, the package of rpi3 is built
#
# Exit code 0 means that all held, 77 that something cannot be had here.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/../.." && pwd)
cd "$HERE"
PURPOSE="packages"
# shellcheck source=targets/packages.sh
. targets/packages.sh
package=$(realpath "${1:-$(targets/package.sh rpi3 | tail -1)}")
architecture=$(dpkg-deb -f "$package" Architecture)
WORK=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$WORK"' EXIT

step() { printf '\n-- %s\n' "$*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
in_root() { tests/board/foreign-root.sh "$architecture" "$WORK/root" "$@"; }

step "size, and the glibc it asks for"
dpkg-deb -x "$package" "$WORK/files"
binary=$WORK/files/usr/bin/nformer-edge
bytes=$(stat -c %s "$binary")
newest=$(readelf --version-info --wide "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
needed=$(readelf --dynamic --wide "$binary" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | tr '\n' ' ')
echo "binary $bytes bytes, package $(stat -c %s "$package") bytes, newest symbol $newest, needs $needed"
[ "$bytes" -le 20000000 ] || fail "the binary is larger than 20 MB"
[ "$(printf 'GLIBC_2.27\n%s\n' "$newest" | sort -V | tail -1)" = GLIBC_2.27 ] || fail "$newest is newer than Ubuntu 18.04"
for library in $needed; do
    case $library in
    libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | librt.so.1 | ld-linux*) ;;
    *) fail "$library is no part of glibc, and the package does not depend on it" ;;
    esac
done

step "the unit: verified, and how exposed it leaves the system"
cp -r "$WORK/files" "$WORK/unit"
cp /bin/true "$WORK/unit/usr/bin/nformer-edge"
mkdir -p "$WORK/unit/bin" && cp /bin/true "$WORK/unit/bin/kill"
cp /usr/lib/systemd/system/{sysinit,basic,local-fs,shutdown,multi-user}.target "$WORK/unit/usr/lib/systemd/system/" || skip "there is no systemd here"
cp targets/debian/first-boot.service "$WORK/unit/usr/lib/systemd/system/nformer-edge-first-boot.service"
complaints=$(systemd-analyze verify --man=no --root="$WORK/unit" nformer-edge.service 2>&1) || fail "$complaints"
[ -z "$complaints" ] || fail "$complaints"
exposure=$(systemd-analyze security --offline=true --root="$WORK/unit" --threshold=15 --no-pager nformer-edge.service | tail -1) ||
    fail "$exposure"
echo "$exposure"

step "the back-off between failures"
mkdir -p "$WORK/bin" "$WORK/run"
printf '#!/bin/sh\necho "slept $1"\n' > "$WORK/bin/sleep"
chmod +x "$WORK/bin/sleep"
back_off() { PATH=$WORK/bin:$PATH RUNTIME_DIRECTORY=$WORK/run SERVICE_RESULT=$2 sh targets/debian/back-off "$1"; }
waits=$(for _ in 1 2 3 4 5 6 7 8 9 10; do
    back_off count watchdog
    back_off wait x | sed -n 's/^slept //p'
done | tr '\n' ' ')
[ "$waits" = "2 4 8 16 32 64 128 256 300 300 " ] || fail "waits: $waits"
touch -d '-11 minutes' "$WORK/run/failures"
back_off count exit-code
[ "$(back_off wait x | sed -n 's/^slept //p')" = 2 ] || fail "a good run of eleven minutes did not begin the count anew"
back_off count success
[ -z "$(back_off wait x)" ] || fail "a run that was told to stop counts as a failure"
echo "waits $waits"

step "installed with dpkg in a root of $architecture"
tests/board/foreign-root.sh "$architecture" "$WORK/root" || exit $?
cp "$package" "$WORK/root/package.deb"
in_root dpkg --install /package.deb
in_root dpkg --verify nformer-edge
in_root sh -c 'id nformer-edge' | tee "$WORK/id"
grep -q 'video' "$WORK/id" && grep -q 'dialout' "$WORK/id" || fail "the user is in neither video nor dialout"
[ -L "$WORK/root/etc/systemd/system/multi-user.target.wants/nformer-edge.service" ] || fail "the unit is not enabled"
in_root nformer-edge models verify
in_root nformer-edge memory --static-only
sed -i 's/^health_interval_s = 10/health_interval_s = 99/' "$WORK/root/etc/nformer-edge/nformer-edge.toml"
in_root dpkg --force-confold --install /package.deb > /dev/null
grep -q 'health_interval_s = 99' "$WORK/root/etc/nformer-edge/nformer-edge.toml" || fail "an upgrade took the user's configuration"
in_root mkdir -p /var/lib/nformer-edge
in_root dpkg --purge nformer-edge > /dev/null
left=$(cd "$WORK/root" && ls -d var/lib/nformer-edge usr/share/nformer-edge etc/nformer-edge usr/bin/nformer-edge 2> /dev/null || true)
[ -z "$left" ] || fail "purged, but there is still: $left"

step "over ssh"
# The board's service manager, which writes down what it is told.
for name in systemctl journalctl sudo; do
    printf '#!/bin/sh\necho "%s $*" >> /told\n' $name > "$WORK/root/usr/bin/$name"
    chmod +x "$WORK/root/usr/bin/$name"
done
have sshd || [ -x /usr/sbin/sshd ] || skip "there is no sshd here"
mkdir -p "$WORK/ssh" /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/host"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/user"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$WORK/ssh/enter" <<ENTER
#!/bin/sh
NFORMER_EDGE_CROSS=$CACHE exec $HERE/tests/board/foreign-root.sh $architecture $WORK/root sh -c "\$SSH_ORIGINAL_COMMAND"
ENTER
chmod +x "$WORK/ssh/enter"
cat > "$WORK/ssh/config" <<CONFIG
ListenAddress 127.0.0.1
Port $port
HostKey $WORK/ssh/host
AuthorizedKeysFile $WORK/ssh/user.pub
StrictModes no
UsePAM no
PidFile none
ForceCommand $WORK/ssh/enter
CONFIG
/usr/sbin/sshd -D -e -f "$WORK/ssh/config" 2> "$WORK/ssh/log" &
for _ in $(seq 50); do if (: > "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then break; fi; sleep 0.1; done
board() {
    targets/flash.sh "$package" "$(id -un)@127.0.0.1" "$@" -p "$port" -i "$WORK/ssh/user" -o IdentitiesOnly=yes \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
}
echo '# mine' > "$WORK/mine.toml"
# scp-like options of ssh come with capital letters elsewhere: flash.sh needs ssh alone.
board --config "$WORK/mine.toml" || { cat "$WORK/ssh/log" >&2; fail "flash.sh over ssh"; }
[ "$(in_root dpkg-query -Wf '${db:Status-Status}' nformer-edge)" = installed ] || fail "not installed over ssh"
cmp "$WORK/mine.toml" "$WORK/root/etc/nformer-edge/nformer-edge.toml" || fail "the configuration did not arrive"
grep -q 'restart nformer-edge' "$WORK/root/told" || fail "the service was not started: $(cat "$WORK/root/told")"
[ -z "$(ls "$WORK/root/tmp")" ] || fail "left behind on the board: $(ls "$WORK/root/tmp")"

step "into an SD-card image"
# Half a gigabyte with the root in its second partition, as Raspberry Pi OS has it, and a bare file system, as some Jetson images are.
image() {
    truncate -s 400M "$WORK/system.img"
    mkfs.ext4 -q -d "$WORK/root" "$WORK/system.img"
}
in_root dpkg --purge nformer-edge > /dev/null
image
truncate -s 500M "$WORK/card.img"
sfdisk -q "$WORK/card.img" <<TABLE
label: dos
start=8192, size=65536, type=c
start=73728, size=819200, type=83
TABLE
dd if="$WORK/system.img" of="$WORK/card.img" bs=512 seek=73728 conv=notrunc,sparse status=none
check_image() {
    local system=$1
    e2fsck -fn "$system" > "$WORK/fsck" 2>&1 || { cat "$WORK/fsck" >&2; fail "the file system is damaged"; }
    debugfs -R "dump /var/lib/nformer-edge-first-boot/nformer-edge.deb $WORK/got.deb" "$system" 2> /dev/null
    cmp "$package" "$WORK/got.deb" || fail "the package in the image"
    debugfs -R "cat /var/lib/nformer-edge-first-boot/nformer-edge.toml" "$system" 2> /dev/null | cmp - "$WORK/mine.toml" || fail "the configuration in the image"
    debugfs -R 'stat /etc/systemd/system/nformer-edge-first-boot.service' "$system" 2> /dev/null |
        grep -Eq 'User: +0 +Group: +0 ' || fail "the unit in the image does not belong to root"
}
for file in card system; do
    # Twice: whoever flashes again gets the later package.
    targets/flash.sh "$package" --image "$WORK/$file.img" --config "$WORK/mine.toml"
    targets/flash.sh "$package" --image "$WORK/$file.img" --config "$WORK/mine.toml"
done
dd if="$WORK/card.img" of="$WORK/second.img" bs=512 skip=73728 count=819200 conv=sparse status=none
check_image "$WORK/second.img"
check_image "$WORK/system.img"
complaints=$(systemd-analyze verify --man=no --root="$WORK/unit" nformer-edge-first-boot.service 2>&1) || true
echo "$complaints" | grep -v 'is not executable\|No such file' | grep . && fail "first-boot.service"
if targets/flash.sh "$package" --image "$WORK/fsck" 2> /dev/null; then fail "a file that is no image was taken for one"; fi

# The first boot, as its unit does it.
in_root mkdir -p /var/lib/nformer-edge-first-boot
cp "$WORK/got.deb" "$WORK/root/var/lib/nformer-edge-first-boot/nformer-edge.deb"
cp "$WORK/mine.toml" "$WORK/root/var/lib/nformer-edge-first-boot/nformer-edge.toml"
sed -n 's/^ExecStart=//p' targets/debian/first-boot.service > "$WORK/root/first-boot.sh"
in_root sh -e /first-boot.sh
[ "$(in_root dpkg-query -Wf '${db:Status-Status}' nformer-edge)" = installed ] || fail "not installed at the first boot"
[ ! -e "$WORK/root/var/lib/nformer-edge-first-boot" ] || fail "the first boot's files are still there"

printf '\npackages: all passed\n'
