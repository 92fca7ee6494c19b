"""Person AP, recall and precision against MOT17-style ground truth, and agreement with another detector on a clip.

    python evaluate.py truth CARD MODEL... --data "$NFORMER_EDGE_SHARED"/data/mot17-mini
    python evaluate.py agree CARD MODEL... --reference REFERENCE_CARD REFERENCE_MODEL --clip CLIP --every 20

Protocol of `truth`. Wanted: class 1 (pedestrian) with the mark set and visibility at least 0.25. Ignored, neither
found nor missed: every other box of a person-like class (persons on vehicles, static persons, distractors,
reflections) and pedestrians that are less visible. Boxes are cut to the frame first. `tall` additionally ignores
everyone less than 40 pixels high once the frame is fitted into 416x416, the same people for every input size.
A detection takes the free wanted box that it overlaps most, best score first, from IoU 0.5 on; one that takes none is
left out when it overlaps an ignored box by 0.5 of its own area, and false otherwise. AP is the area under the
precision envelope over all frames together.
"""

import argparse
import configparser
import csv
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from detectors import Detector, corners, match

PEDESTRIAN, PERSON_LIKE = 1, {1, 2, 7, 8, 12}
VISIBLE, TALL, TALL_SIDE = 0.25, 40, 416
LOWEST = 0.05


def truth(folder):
    """(picture path, wanted boxes, ignored boxes) of each frame that has a picture."""
    for sequence in sorted(Path(folder).iterdir()):
        settings = configparser.ConfigParser()
        settings.read(sequence / "seqinfo.ini")
        size = np.array([int(settings["Sequence"][key]) for key in ("imWidth", "imHeight")])
        rows = defaultdict(lambda: ([], []))
        for row in csv.reader((sequence / "gt" / "gt.txt").open()):
            frame, _, *box, mark, kind, visibility = map(float, row)
            if kind not in PERSON_LIKE:
                continue
            low = np.clip(np.array(box[:2]) - 1, 0, size)
            high = np.clip(np.array(box[:2]) - 1 + box[2:], 0, size)
            wanted = kind == PEDESTRIAN and mark == 1 and visibility >= VISIBLE
            rows[int(frame)][0 if wanted else 1].append([*low, *(high - low)])
        for picture in sorted((sequence / "img1").glob("*.jpg")):
            yield picture, *(np.array(boxes, float).reshape(-1, 4) for boxes in rows[int(picture.stem)])


def covered(found, ignored):
    """Whether half of each found box lies in some ignored box."""
    if not len(found) or not len(ignored):
        return np.zeros(len(found), bool)
    a, b = corners(found), corners(ignored)
    shared = np.prod(np.clip(np.minimum(a[:, None, 2:4], b[None, :, 2:4]) - np.maximum(a[:, None, :2], b[None, :, :2]), 0, None), 2)
    return (shared / np.prod(found[:, 2:4], 1)[:, None]).max(1) >= 0.5


def score(frames, tall):
    """Scores and correctness of the detections that count, and the number of wanted people."""
    scores, right, people = [], [], 0
    for found, wanted, ignored, scale in frames:
        if tall:
            small = wanted[:, 3] * scale < TALL
            wanted, ignored = wanted[~small], np.concatenate([ignored, wanted[small]])
        taken = match(found, wanted) >= 0
        counts = taken | ~covered(found, ignored)
        if tall:
            counts &= taken | (found[:, 3] * scale >= TALL)
        scores.append(found[counts, 4])
        right.append(taken[counts])
        people += len(wanted)
    return np.concatenate(scores), np.concatenate(right), people


def average_precision(scores, right, people):
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * right[order]).sum() / people)


def against_truth(arguments):
    pictures = list(truth(arguments.data))
    for model in arguments.models:
        detector, frames = Detector(arguments.card, model), []
        for path, wanted, ignored in pictures:
            picture = cv2.imread(str(path))
            scale = min(TALL_SIDE / side for side in picture.shape[:2])
            frames.append((detector.detect(picture, LOWEST), wanted, ignored, scale))
        print(f"{model.name}: {detector.width}x{detector.height}, {len(pictures)} frames")
        for name, tall in (("everyone", False), ("tall", True)):
            scores, right, people = score(frames, tall)
            line = [f"  {name:8s} {people} people, AP50 {average_precision(scores, right, people):.3f};"]
            for threshold in arguments.thresholds:
                over = scores >= threshold
                line.append(f"at {threshold:g} recall {right[over].sum() / people:.3f} precision {right[over].mean():.3f};")
            print(" ".join(line))


def clip_frames(path, every, offset):
    """Every `every`-th frame of a clip, or of the .jpg files below a folder."""
    for at, picture in enumerate(folder_frames(path) if Path(path).is_dir() else video_frames(path)):
        if at % every == offset:
            yield picture


def folder_frames(path):
    return (cv2.imread(str(picture)) for picture in sorted(Path(path).rglob("*.jpg")))


def video_frames(path):
    clip = cv2.VideoCapture(str(path))
    if not clip.isOpened():
        raise SystemExit(f"{path}: cannot be opened as a clip")
    while True:
        there, picture = clip.read()
        if not there:
            return
        yield picture


def against_another(arguments):
    card, model = arguments.reference
    reference = Detector(card, model)
    pictures = list(clip_frames(arguments.clip, arguments.every, arguments.offset))
    wanted = [reference.detect(picture) for picture in pictures]
    wanted = [boxes[boxes[:, 3] >= arguments.min_height] for boxes in wanted]
    people = sum(map(len, wanted))
    print(f"{len(pictures)} frames, {people} boxes of {Path(model).name} at {reference.output['threshold']:g}")
    for model in arguments.models:
        detector = Detector(arguments.card, model)
        found = [detector.detect(picture, min(arguments.thresholds)) for picture in pictures]
        print(f"{model.name}: {detector.width}x{detector.height}")
        for threshold in arguments.thresholds:
            hits, count, apart = 0, 0, [np.zeros((0, 2))]
            for boxes, others in zip(found, wanted):
                boxes = boxes[(boxes[:, 4] >= threshold) & (boxes[:, 3] >= arguments.min_height)]
                taken = match(boxes, others)
                ours, theirs = boxes[taken >= 0], others[taken[taken >= 0]]
                apart.append(ours[:, :2] + ours[:, 2:4] / 2 - theirs[:, :2] - theirs[:, 2:4] / 2)
                hits += len(ours)
                count += len(boxes)
            right, down = np.concatenate(apart).mean(0) if hits else (0, 0)
            print(f"  at {threshold:g}: {count} boxes, recall {hits / people:.3f} precision {hits / max(count, 1):.3f}, "
                  f"centres {right:+.1f} right and {down:+.1f} down of theirs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, run in (("truth", against_truth), ("agree", against_another)):
        kind = kinds.add_parser(name)
        kind.set_defaults(run=run)
        kind.add_argument("card", type=Path)
        kind.add_argument("models", type=Path, nargs="+")
        kind.add_argument("--thresholds", type=float, nargs="+", default=[0.3, 0.35, 0.4, 0.45, 0.5])
        if name == "truth":
            kind.add_argument("--data", type=Path, required=True)
        else:
            kind.add_argument("--reference", nargs=2, required=True, metavar=("CARD", "MODEL"))
            kind.add_argument("--clip", type=Path, required=True, help="a video, or a folder with .jpg files in it")
            kind.add_argument("--every", type=int, default=20)
            kind.add_argument("--offset", type=int, default=0)
            kind.add_argument("--min-height", type=float, default=30, help="of a box in the clip's pixels")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
