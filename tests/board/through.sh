# For boots that compare with the host: pictures through v4l2loopback.
PACE=1000
# Drawn pictures that show nobody are alike to the last pixel: nothing is frozen.
COMMON="--camera.frozen_ms 0 --camera.timeout_ms 5000 --tracks.keep_lost_ms 600000 --tracks.embeddings_per_frame 1"

# through NAME FOURCC WIDTH HEIGHT FILE... after the arguments of the product in $ARGUMENTS
through() {
    name=$1 fourcc=$2 width=$3 height=$4
    shift 4
    rm -f /tmp/pid /tmp/ready
    # Afresh each time: a device that was fed before hands out what it held then.
    load v4l2loopback video_nr=0 exclusive_caps=0 max_buffers=8
    video feed /dev/video0 "$fourcc" "$width" "$height" $PACE /tmp/pid "$@" > /tmp/ready &
    feeder=$!
    while ! grep -q ready /tmp/ready; do sleep 0.1; done
    # shellcheck disable=SC2086
    begin "$name" --source /dev/video0 --camera.width "$width" --camera.height "$height" $COMMON $ARGUMENTS
    wait $feeder || { echo "@failed feed $name" && kill $pid; }
    ended
    rmmod v4l2loopback
}
