#!/usr/bin/env bash
# Puts a package made by targets/package.sh on a board.
#
#     targets/flash.sh PACKAGE.deb USER@HOST [--config FILE] [SSH-OPTION...]
#     targets/flash.sh PACKAGE.deb --image FILE [--config FILE]
#
# Over ssh: copies, installs (sudo on the board), starts the service and shows its first lines. With --image: into the root
# partition of an SD-card image (Raspberry Pi OS, Jetson), to be installed at the first boot. That needs no rights
# and mounts nothing: the ext4 file system is written by debugfs. --config replaces the board's configuration.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
usage() {
    sed -n '4,5s/^# *//p' "$0" >&2
    exit 2
}
fail() {
    echo "$0: $1" >&2
    exit 1
}

[ $# -ge 2 ] || usage
package=$1 place=$2
shift 2
image='' config=''
if [ "$place" = --image ]; then
    [ $# -ge 1 ] || usage
    image=$1
    shift
fi
if [ "${1:-}" = --config ]; then
    [ $# -ge 2 ] || usage
    config=$2
    shift 2
fi
dpkg-deb --info "$package" control > /dev/null || fail "$package is not a Debian package; targets/package.sh BOARD makes one"
[ -z "$config" ] || [ -r "$config" ] || fail "$config cannot be read"

over_ssh() {
    local folder
    ssh "$@" "$place" true || fail "no ssh to $place"
    # A folder of its own: nothing of the user's is overwritten, and nobody else can swap the package before it is installed.
    folder=$(ssh "$@" "$place" 'mktemp -d')
    # shellcheck disable=SC2029
    tar -C "$(dirname "$package")" -c "$(basename "$package")" | ssh "$@" "$place" "tar -C $folder -x"
    # shellcheck disable=SC2029
    [ -z "$config" ] || ssh "$@" "$place" "cat > $folder/nformer-edge.toml" < "$config"
    # shellcheck disable=SC2087
    ssh "$@" "$place" sh -se <<REMOTE
sudo=\$([ "\$(id -u)" = 0 ] || command -v sudo) || true
trap 'rm -rf $folder' EXIT
\$sudo dpkg --force-confold --install "$folder/$(basename "$package")"
if [ -e "$folder/nformer-edge.toml" ]; then \$sudo install -m 644 "$folder/nformer-edge.toml" /etc/nformer-edge/nformer-edge.toml; fi
\$sudo systemctl restart nformer-edge
sleep 5
\$sudo journalctl --no-pager --output cat --lines 20 --unit nformer-edge
\$sudo systemctl is-active nformer-edge
REMOTE
}

# Prints the byte offset of the image's largest Linux partition, 0 if the image is one file system.
root_offset() {
    if [ "$(od -An -tx2 -j1080 -N2 "$1" | tr -d ' ')" = ef53 ]; then
        echo 0
        return
    fi
    sfdisk --json "$1" 2> /dev/null | python3 -c '
import json, sys
table = json.load(sys.stdin)["partitiontable"]
# MBR type 83, and the two GUIDs that Raspberry Pi OS and the Jetson images give a root.
linux = {"83", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"}
roots = [part for part in table["partitions"] if part["type"].upper() in linux]
print(max(roots, key=lambda part: part["size"])["start"] * table.get("sectorsize", 512))' ||
        fail "$1 has neither an ext4 file system nor a partition table with a Linux partition"
}

into_image() {
    [ -w "$image" ] || fail "$image cannot be written"
    local offset system commands wants=/etc/systemd/system/multi-user.target.wants
    offset=$(root_offset "$image")
    system="$image?offset=$offset"
    debugfs -R 'stat /usr/bin/dpkg' "$system" 2>&1 | grep -q '^Inode: ' || fail "$image: its Linux partition holds no Debian system"
    commands=$(mktemp)
    # shellcheck disable=SC2064
    trap "rm -f '$commands'" EXIT
    {
        debugfs -R 'stat /var/lib/nformer-edge-first-boot' "$system" 2>&1 | grep -q '^Inode: ' || echo "mkdir /var/lib/nformer-edge-first-boot"
        put "$package" /var/lib/nformer-edge-first-boot/nformer-edge.deb 0100644
        [ -z "$config" ] || put "$config" /var/lib/nformer-edge-first-boot/nformer-edge.toml 0100644
        put "$HERE/debian/first-boot.service" /etc/systemd/system/nformer-edge-first-boot.service 0100644
        debugfs -R "stat $wants" "$system" 2>&1 | grep -q '^Inode: ' || echo "mkdir $wants"
        echo "rm $wants/nformer-edge-first-boot.service"
        echo "symlink $wants/nformer-edge-first-boot.service /etc/systemd/system/nformer-edge-first-boot.service"
    } > "$commands"
    debugfs -w -f "$commands" "$system" > /dev/null 2>&1
    # debugfs tells of no failure by its exit code: look at what is there.
    local found
    found=$(mktemp)
    debugfs -R "dump /var/lib/nformer-edge-first-boot/nformer-edge.deb $found" "$system" > /dev/null 2>&1
    cmp -s "$package" "$found" || { rm -f "$found"; fail "the package did not get into $image: is its file system full?"; }
    rm -f "$found"
    debugfs -R "stat $wants/nformer-edge-first-boot.service" "$system" 2>&1 | grep -q 'Type: symlink' || fail "the first boot's unit did not get into $image"
    echo "$image: nformer-edge will be installed and started at the first boot"
}

# Commands that replace a file, owned by root whoever runs this.
put() {
    printf 'rm %s\nwrite %s %s\n' "$2" "$1" "$2"
    printf 'set_inode_field %s %s\n' "$2" uid\ 0 "$2" gid\ 0 "$2" mode\ "$3"
}

if [ -n "$image" ]; then into_image; else over_ssh "$@"; fi
