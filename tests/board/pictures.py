"""pictures.py FOLDER: what the guest's cameras show: JPEG pictures of the bundled clip, and raw ones with a walker on noise."""

import random
import struct
import sys
from pathlib import Path

# Two people come in; the empty street before is what the motion detector learns from.
FIRST, COUNT = 86, 26
WIDTH, HEIGHT, RAW_COUNT = 320, 240, 24

folder = Path(sys.argv[1])
clip = (Path(__file__).parent.parent / "clips/pedestrians.avi").read_bytes()


def chunks(data):
    """The pictures of an AVI: chunks `00dc` of the list `movi`, each with its length."""
    at = data.index(b"movi") + 4
    while data[at : at + 4] == b"00dc":
        length = struct.unpack_from("<I", data, at + 4)[0]
        yield data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


(folder / "clip").mkdir(parents=True, exist_ok=True)
for number, picture in enumerate(chunks(clip)):
    if FIRST <= number < FIRST + COUNT:
        (folder / "clip" / f"{number:04}.jpg").write_bytes(picture)

(folder / "raw").mkdir(exist_ok=True)
random.seed(1)
backdrop = [random.randrange(90, 110) for _ in range(WIDTH * HEIGHT)]
for number in range(RAW_COUNT):
    rows = bytearray()
    # A walker of two colours, from the fourteenth picture on.
    left = 8 * (number - 12) if number > 12 else -100
    for y in range(HEIGHT):
        for x in range(0, WIDTH, 2):
            inside = left <= x < left + 44 and 70 <= y < 200
            luma = 200 if inside and y < 130 else 30 if inside else None
            chroma = (90, 190) if inside and y < 130 else (170, 100) if inside else (128, 128)
            pair = [luma if luma is not None else backdrop[y * WIDTH + x + side] for side in (0, 1)]
            rows += bytes((pair[0], chroma[0], pair[1], chroma[1]))
    (folder / "raw" / f"{number:04}.yuyv").write_bytes(rows)
