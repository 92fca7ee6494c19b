# Boot "armv7": the program for 32-bit Arm on a kernel of 64 bits, whose V4L2 structures are others: sizes, pointers, time stamps.
# Formats by both APIs as in boot "formats", and pictures with motion for comparison with the host as in boot "clip".
# shellcheck source=tests/board/vivid.sh
. /board/vivid.sh
# shellcheck source=tests/board/through.sh
. /board/through.sh

nformer-edge doctor 2>&1 | sed 's/^/@doctor /'
nformer-edge memory --static-only 2>&1 | sed 's/^/@memory /'
load vivid node_types=0x1 num_inputs=1 input_types=0
formats single yuyv nv12
nformer-edge devices 2>&1 | sed 's/^/@devices /'
binary
# Later than 32 bits of seconds can say (19 January 2038), and a mark as of a clock that was set from the network.
now=$(date +%s)
date -s "@$((now + 2147483648))" > /dev/null
mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized
formats late yuyv
rm /run/systemd/timesync/synchronized
date -s "@$now" > /dev/null
rmmod vivid
load vivid node_types=0x1 num_inputs=1 input_types=0 multiplanar=2
formats multi yuyv nv12 nm12
nformer-edge devices 2>&1 | sed 's/^/@devices-multi /'
rmmod vivid
ARGUMENTS="--sandbox true --detector.kind motion --models.backbone /board/tiny/card.toml --camera.format yuyv"
through raw YUYV 320 240 /board/raw/*
