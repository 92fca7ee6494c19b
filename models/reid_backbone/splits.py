"""Writes `splits.json` for crops of your own: which people are trained on, and who is asked for in whose gallery.

    python splits.py CROPS

CROPS holds a folder `images` of pictures named as in Market-1501, `IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg`: four digits,
one, one, six, two. A fifth of the people goes to `val`, a fifth to `test`, the rest to `train`. Of each person's crops by a
camera the first asks, the others answer; a camera's own crops of that person do not count as answers, so people whom one
camera alone has seen are trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from data import Crop, parse

# A batch of the training has 16 people (`train.py --people`), and a figure needs a few.
LEAST_TRAINED, LEAST_ASKED = 16, 4


def lists(crops: list[Crop]) -> dict[str, list[str]]:
    """Names of the crops that ask and of those that answer."""
    query, gallery, asked = [], [], set()
    for crop in crops:
        key = crop.identity, crop.camera
        (gallery if key in asked else query).append(crop.path.name)
        asked.add(key)
    return {"query": query, "gallery": gallery}


def splits_of(crops: list[Crop], rng: np.random.Generator) -> dict[str, object]:
    """The content of `splits.json`."""
    people: dict[int, list[Crop]] = defaultdict(list)
    for crop in crops:
        people[crop.identity].append(crop)
    # An answer is a crop that does not ask itself, by another camera than the one that asks.
    can_be_asked = [one for one, own in people.items() if len(own) > len({crop.camera for crop in own}) > 1]
    share = len(people) // 5
    if share < LEAST_ASKED or len(can_be_asked) < 2 * share or len(people) - 2 * share < LEAST_TRAINED:
        raise SystemExit(
            f"expected at least {LEAST_TRAINED + 2 * LEAST_ASKED} people, two fifths of them seen by two cameras and more than "
            f"once by one of these, found {len(people)} people, {len(can_be_asked)} of that kind; add crops, or with one "
            f"camera count the days as cameras in the names"
        )
    chosen = rng.permutation(can_be_asked)[: 2 * share].tolist()
    parts = {"val": chosen[:share], "test": chosen[share:]}
    result: dict[str, object] = {"train_ids": [f"{one:04}" for one in people if one not in chosen]}
    for part, members in parts.items():
        result[f"{part}_ids"] = [f"{one:04}" for one in sorted(members)]
        result[part] = lists([crop for one in sorted(members) for crop in people[one]])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    crops = [parse(path) for path in sorted((args.crops / "images").glob("*.jpg"))]
    splits = splits_of(crops, np.random.default_rng(args.seed))
    (args.crops / "splits.json").write_text(json.dumps(splits))
    counts = ", ".join(f"{part} {len(splits[f'{part}_ids'])}" for part in ("train", "val", "test"))
    print(f"{args.crops / 'splits.json'}: {len(crops)} crops of people: {counts}")


if __name__ == "__main__":
    main()
