"""Writes `clip_reference.json`: made clips with what a tracker said, and their figures by other people's implementation.

    pip install numpy==2.2.6 scipy==1.17.1 trackeval==1.3.0
    python tests/eval/clip_reference.py

The figures are TrackEval's, the program of the MOT Challenge (CLEAR and Identity at an overlap of 0.5).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from trackeval.metrics import CLEAR, Identity

# Name, seed, frames, people, chance that somebody is missed, that a track breaks, that two near ones swap, wrong ones a frame.
CASES = (
    ("calm", 1, 40, 5, 0.05, 0.01, 0.02, 0.1),
    ("crowd", 2, 40, 12, 0.2, 0.05, 0.2, 1.0),
    ("hopeless", 3, 30, 8, 0.5, 0.3, 0.5, 3.0),
)
WIDTH, HEIGHT = 20, 40


def made(seed: int, frames: int, people: int, missed: float, broken: float, swapped: float, wrong: float) -> list[dict[str, list]]:
    """For each frame boxes of people and of a tracker, each `[number, left, top, width, height]` in whole pixels."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 160, (people, 2))
    track, following = np.arange(people) + 1, people + 1
    clip = []
    for _ in range(frames):
        place += rng.normal(0, 4, place.shape)
        truth, seen = [], []
        for person in range(people):
            if rng.random() < 0.1:  # Out of sight.
                continue
            truth.append([person, *place[person].round().astype(int).tolist(), WIDTH, HEIGHT])
            if rng.random() < broken:
                track[person], following = following, following + 1
            other = rng.integers(people)
            if rng.random() < swapped and np.abs(place[person] - place[other]).max() < 30:
                track[[person, other]] = track[[other, person]]
            if rng.random() >= missed:
                shown = place[person] + rng.normal(0, 3, 2)
                seen.append([int(track[person]), *shown.round().astype(int).tolist(), WIDTH, HEIGHT])
        for _ in range(rng.poisson(wrong)):
            seen.append([following, *rng.integers(0, 160, 2).tolist(), WIDTH, HEIGHT])
            following += int(rng.random() < 0.5)
        # A number once a frame, as a tracker gives them.
        clip.append({"truth": truth, "seen": list({number: [number, *box] for number, *box in seen}.values())})
    return clip


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes `[n, 4]` and `[m, 4]`, `[n, m]`."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, :2] + one[:, None, 2:], other[None, :, :2] + other[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=-1)
    areas = one[:, 2:].prod(axis=-1)[:, None] + other[:, 2:].prod(axis=-1)[None]
    return shared / (areas - shared)


def dense(numbers: list[list[int]]) -> tuple[list[np.ndarray], int]:
    """The numbers counted from 0 without a gap, and how many there are."""
    place = {number: index for index, number in enumerate(sorted({number for frame in numbers for number in frame}))}
    return [np.array([place[number] for number in frame], int) for frame in numbers], len(place)


def figures(clip: list[dict[str, list]]) -> dict[str, float]:
    """What TrackEval finds; shares in percent."""
    boxes = {name: [np.array([box[1:] for box in frame[name]], float).reshape(-1, 4) for frame in clip] for name in ("truth", "seen")}
    people, person_count = dense([[box[0] for box in frame["truth"]] for frame in clip])
    tracks, track_count = dense([[box[0] for box in frame["seen"]] for frame in clip])
    data = {
        "gt_ids": people,
        "tracker_ids": tracks,
        "num_gt_ids": person_count,
        "num_tracker_ids": track_count,
        "num_gt_dets": sum(map(len, people)),
        "num_tracker_dets": sum(map(len, tracks)),
        "num_timesteps": len(clip),
        "similarity_scores": [overlaps(one, other) for one, other in zip(boxes["truth"], boxes["seen"], strict=True)],
    }
    clear, identity = CLEAR().eval_sequence(data), Identity().eval_sequence(data)
    return {
        "found": int(clear["CLR_TP"]),
        "missed": int(clear["CLR_FN"]),
        "wrong": int(clear["CLR_FP"]),
        "switches": int(clear["IDSW"]),
        "mota": 100 * float(clear["MOTA"]),
        "agreeing": int(identity["IDTP"]),
        "idf1": 100 * float(identity["IDF1"]),
        "idp": 100 * float(identity["IDP"]),
        "idr": 100 * float(identity["IDR"]),
    }


def main() -> None:
    cases = []
    for name, *how in CASES:
        clip = made(*how)
        cases.append({"name": name, "expected": figures(clip), "frames": clip})
        print(name, cases[-1]["expected"])
    path = Path(__file__).with_name("clip_reference.json")
    path.write_text(json.dumps(cases, separators=(",", ":")).replace('},{"truth"', '},\n{"truth"') + "\n")


if __name__ == "__main__":
    main()
