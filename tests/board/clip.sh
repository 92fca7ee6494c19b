# Boot "clip": real pictures through v4l2loopback, for comparison with the host.
# shellcheck source=tests/board/through.sh
. /board/through.sh

ARGUMENTS="--detector.kind motion --models.backbone /board/tiny/card.toml --camera.format yuyv"
through raw YUYV 320 240 /board/raw/*
ARGUMENTS="--detector.kind motion --camera.format mjpeg"
through clip MJPG 640 480 /board/clip/*
ARGUMENTS="--camera.format mjpeg"
# shellcheck disable=SC2046
through models MJPG 640 480 $(ls /board/clip/* | tail -4)
