"""people.csv: YOLOX-nano's person boxes on the bundled clip, for tests of another detector's recall and precision.

    python tests/clips/reference_boxes.py path/to/yolox_nano.onnx        # environment of models/person_detector

They are another detector's opinion and not ground truth: it misses people behind each other.
"""

import csv
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DETECTOR = HERE.parents[1] / "models" / "person_detector"
sys.path.insert(0, str(DETECTOR))

from detectors import Detector  # noqa: E402
from evaluate import video_frames  # noqa: E402

THRESHOLD, MIN_HEIGHT = 0.4, 30


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    detector = Detector(DETECTOR / "foreign" / "yolox_nano.toml", sys.argv[1])
    with (HERE / "people.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["frame", "x", "y", "w", "h", "score"])
        for frame, picture in enumerate(video_frames(HERE / "pedestrians.avi")):
            for *box, score in detector.detect(picture, THRESHOLD):
                if box[3] >= MIN_HEIGHT:
                    rows.writerow([frame, *(f"{side:.1f}" for side in box), f"{score:.3f}"])


if __name__ == "__main__":
    main()
