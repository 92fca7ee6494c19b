# Boot "formats": every pixel format from V4L2 to serial, by both APIs. vivid's test picture is the same in all of them.
SIZE="--camera.width 320 --camera.height 180"
TINY="--models.backbone /board/tiny/card.toml --detector.kind whole"

# formats API FORMAT...: a run each.
formats() {
    api=$1
    shift
    # The text on the picture tells the time.
    video control /dev/video0 "OSD Text Mode" 2
    for format in "$@"; do
        # shellcheck disable=SC2086
        begin "$api-$format" --source /dev/video0 $SIZE $TINY --camera.format "$format" --snapshot "/tmp/$api-$format"
        until_seen sightings
        end
        pictures "/tmp/$api-$format"
        rm -rf "/tmp/$api-$format"
    done
}

nformer-edge doctor 2>&1 | sed 's/^/@doctor /'
load vivid node_types=0x1 num_inputs=1 input_types=0
formats single yuyv nv12 rgb grey uyvy i420
nformer-edge devices 2>&1 | sed 's/^/@devices /'
# The other encoding of the wire.
# shellcheck disable=SC2086
begin binary --source /dev/video0 $SIZE $TINY --report.serial.format binary
until_seen bytes
end
rmmod vivid
load vivid node_types=0x1 num_inputs=1 input_types=0 multiplanar=2
formats multi yuyv nv12 rgb grey uyvy i420 nm12 ym12
nformer-edge devices 2>&1 | sed 's/^/@devices-multi /'
