# Boot "formats": every pixel format from V4L2 to serial, by both APIs.
# shellcheck source=tests/board/vivid.sh
. /board/vivid.sh

nformer-edge doctor 2>&1 | sed 's/^/@doctor /'
load vivid node_types=0x1 num_inputs=1 input_types=0
formats single yuyv nv12 rgb grey uyvy i420
nformer-edge devices 2>&1 | sed 's/^/@devices /'
binary
rmmod vivid
load vivid node_types=0x1 num_inputs=1 input_types=0 multiplanar=2
formats multi yuyv nv12 rgb grey uyvy i420 nm12 ym12
nformer-edge devices 2>&1 | sed 's/^/@devices-multi /'
