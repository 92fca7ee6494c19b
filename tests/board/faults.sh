# Boot "faults": one run of the product, and everything that can happen to it. vivid injects by its controls.
inject() { video control /dev/video0 "$1" "${2:-1}"; }

# fault NAME SECONDS COMMAND...: does something, and gives the product time to get over it.
fault() {
    fault=$1 seconds=$2
    shift 2
    echo "@fault $fault"
    "$@"
    sleep "$seconds"
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
    --detector.kind whole --camera.fps 10 --report.queue 32
sleep 8
fault none 4 true
fault corrupt 3 inject "Inject V4L2_BUF_FLAG_ERROR"
fault qbuf 4 inject "Inject VIDIOC_QBUF Error"
fault fatal 4 inject "Inject Fatal Streaming Error"
fault reqbufs 5 reqbufs
fault streamon 5 streamon
fault disconnect 5 inject "Disconnect"
fault silent 4 silent
fault clock-forward 4 clock 3600
fault clock-back 4 clock -7200
# vm.py stops reading for six seconds, then hangs up for four.
fault reader-slow 10 true
fault reader-gone 8 true
fault none-again 4 true
end
