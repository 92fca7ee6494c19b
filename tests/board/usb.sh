# Boot "usb": a USB camera by the kernel's own driver, unplugged in the middle of the clip and plugged in again.
load uvcvideo
load vhci_hcd
rm -f /tmp/pid
uvc 640 480 1000 /tmp/pid 14 /board/clip/* > /dev/console 2>&1 &
camera=$!
for _ in $(seq 600); do
    [ -e /dev/video0 ] && break
    kill -0 $camera || break
    sleep 0.1
done
nformer-edge devices 2>&1 | sed 's/^/@devices-usb /'
begin usb --sandbox true --source /dev/video0 --camera.width 640 --camera.height 480 --camera.format mjpeg --camera.timeout_ms 5000 \
    --tracks.keep_lost_ms 600000 --tracks.embeddings_per_frame 1 --detector.kind motion --models.backbone /board/tiny/card.toml
wait $camera || { echo "@failed uvc" && kill $pid; }
ended
