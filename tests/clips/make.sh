#!/bin/sh
# Cuts pedestrians.avi from OpenCV's vtest.avi.
#   apt-get install -y --no-install-recommends opencv-doc ffmpeg
#   sh tests/clips/make.sh [vtest.avi]
set -eu
here=$(dirname "$0")
source=${1:-/usr/share/doc/opencv-doc/examples/data/vtest.avi}
test -r "$source" || { echo "$source: not there; apt-get install opencv-doc, or name the file" >&2; exit 1; }

# One continuous cut, every second frame (10 to 5 fps). The crop is not scaled, and its corner is a multiple of 16:
# the pixels stay as recorded and the JPEG blocks fall on the blocks of the source, which makes them small.
# `-huffman default` writes the standard tables; one thread and bitexact make the file the same on every run.
first=436 last=770
ffmpeg -v error -y -threads 1 -i "$source" -an \
    -vf "select='between(n,$first,$last)*not(mod(n-$first,2))',setpts=N/5/TB,crop=640:480:0:80" -r 5 \
    -c:v mjpeg -threads 1 -pix_fmt yuvj420p -huffman default -trellis 1 -q:v 12 \
    -map_metadata -1 -fflags +bitexact -flags:v +bitexact "$here/pedestrians.avi"

bytes=$(wc -c <"$here/pedestrians.avi")
test "$bytes" -le 3000000 || { echo "pedestrians.avi: $bytes bytes, more than the 3000000 allowed" >&2; exit 1; }
expected=$(sed -n 's/^sha256 = "\(.*\)"/\1/p' "$here/card.toml")
found=$(sha256sum "$here/pedestrians.avi" | cut -d' ' -f1)
test "$found" = "$expected" || echo "pedestrians.avi: $bytes bytes, sha256 $found differs from the card (another ffmpeg?)" >&2
