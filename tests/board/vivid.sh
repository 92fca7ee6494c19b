# For boots that look at vivid's test picture, which is the same in every format.
SIZE="--camera.width 320 --camera.height 180"
TINY="--models.backbone /board/tiny/card.toml --detector.kind whole"

# formats NAME FORMAT...: a run each.
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

# The other encoding of the wire.
binary() {
    # shellcheck disable=SC2086
    begin binary --source /dev/video0 $SIZE $TINY --report.serial.format binary
    until_seen bytes
    end
}
