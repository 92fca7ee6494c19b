# Boot "faults": one run of the product, and everything that can happen to it. vivid injects by its controls.
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
silent() { inject "Percentage of Dropped Buffers" 100 && sleep 3 && inject "Percentage of Dropped Buffers" 0; }
clock() { date -s "@$(($(date +%s) + $1))" > /dev/null; }

# The mark of a clock that was set from the network: sightings carry it from now on.
mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized
load vivid node_types=0x1 num_inputs=1 input_types=0
begin faults --source /dev/video0 --camera.width 320 --camera.height 180 --models.backbone /board/tiny/card.toml \
    --detector.kind whole --camera.fps 10 --report.queue 16
until_seen sightings
fault none true
fault corrupt inject "Inject V4L2_BUF_FLAG_ERROR"
fault qbuf inject "Inject VIDIOC_QBUF Error"
fault fatal inject "Inject Fatal Streaming Error"
fault reqbufs reqbufs
fault streamon streamon
fault disconnect inject "Disconnect"
fault silent silent
fault clock-forward clock 3600
fault clock-back clock -7200
# vm.py stops reading for six seconds at least, then hangs up for four.
fault reader-slow true
fault reader-gone true
fault none-again true
end
