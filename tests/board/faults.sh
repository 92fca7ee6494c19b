# Boot "faults": one run of the product, and everything that can happen to it; then one that the kernel kills for want of memory,
# and the one after it. vivid injects by its controls.
inject() { video control /dev/video0 "$1" "${2:-1}"; }

# fault NAME COMMAND...: does something, and waits until the product has got over it.
fault() {
    fault=$1
    shift
    echo "@fault $fault"
    "$@"
    until_seen over
    echo "@over $fault"
}

reqbufs() { inject "Inject VIDIOC_REQBUFS Error" && inject "Inject Fatal Streaming Error"; }
streamon() { inject "Inject VIDIOC_STREAMON Error" && inject "Inject Fatal Streaming Error"; }
# Without the text that tells the time, vivid's picture stands still.
frozen() { video control /dev/video0 "OSD Text Mode" 2 && sleep 6 && video control /dev/video0 "OSD Text Mode" 0; }
silent() { inject "Percentage of Dropped Buffers" 100 && sleep 3 && inject "Percentage of Dropped Buffers" 0; }
clock() { date -s "@$(($(date +%s) + $1))" > /dev/null; }

# The mark of a clock that was set from the network: sightings carry it from now on.
mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized
load vivid node_types=0x1 num_inputs=1 input_types=0
CAMERA="--source /dev/video0 --camera.width 320 --camera.height 180 --camera.fps 10"
PEOPLE="--models.backbone /board/tiny/card.toml --detector.kind whole"
# shellcheck disable=SC2086
begin faults $CAMERA $PEOPLE --report.queue 16 --sandbox true --camera.frozen_ms 2000 --camera.frozen_reopen true
until_seen sightings
fault none true
fault corrupt inject "Inject V4L2_BUF_FLAG_ERROR"
fault qbuf inject "Inject VIDIOC_QBUF Error"
fault fatal inject "Inject Fatal Streaming Error"
fault reqbufs reqbufs
fault streamon streamon
fault disconnect inject "Disconnect"
fault silent silent
fault frozen frozen
fault clock-forward clock 3600
fault clock-back clock -7200
# vm.py stops reading for six seconds at least, then hangs up for four.
fault reader-slow true
fault reader-gone true
fault none-again true
end

# The unit's limit (MemoryMax of targets/debian/nformer-edge.service) holds the whole program; then it shrinks to what cannot be
# enough, and the kernel kills. The unit would start it again.
group=/tmp/group
mkdir $group && mount -t cgroup2 none $group
echo +memory > $group/cgroup.subtree_control
mkdir $group/unit
limit() { echo "$1" > $group/unit/memory.max; }
printf '#!/bin/sh\necho $$ > %s/unit/cgroup.procs\nexec nformer-edge "$@"\n' $group > /tmp/limited
chmod +x /tmp/limited
PRODUCT=/tmp/limited
limit 128M
# shellcheck disable=SC2086
begin killed $CAMERA $PEOPLE --state.dir /tmp/state --state.interval_s 1
until_seen stored
limit 2M
ended
echo "@memory $(grep oom_kill $group/unit/memory.events | tr '\n' ' ')"
limit 128M
# shellcheck disable=SC2086
begin again $CAMERA $PEOPLE --state.dir /tmp/state --state.interval_s 1
until_seen known
end
echo "@memory peak $(cat $group/unit/memory.peak)"
