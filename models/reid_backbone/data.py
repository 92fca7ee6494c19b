"""Market-1501 crops, splits and retrieval metrics, shared by every script here and in `models/nformer`."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

# Where the tests of the program look too: `$NFORMER_EDGE_SHARED`, else `shared` beside the checkout.
DEFAULT_SHARED = Path(os.environ.get("NFORMER_EDGE_SHARED") or Path(__file__).resolve().parents[3] / "shared")

# Order R, G, B in 0..255 units: the ImageNet statistics the trunk was trained with.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>\d)s(?P<sequence>\d)_(?P<frame>\d{6})_(?P<box>\d{2})\.jpg")


@dataclass(frozen=True)
class Crop:
    """One picture and what its name says about it."""

    path: Path
    identity: int
    camera: int
    sequence: int
    frame: int

    @property
    def time(self) -> tuple[int, int]:
        """Order of capture: the six cameras ran through a sequence at the same time."""
        return self.sequence, self.frame


def parse(path: Path) -> Crop:
    """Reads `IDENTITY_cCAMERAsSEQUENCE_FRAME_BOX.jpg`."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not a Market-1501 name")
    return Crop(path, *(int(match[key]) for key in ("identity", "camera", "sequence", "frame")))


class Market:
    """`images` and `splits.json`: in `shared` itself (crops of your own), else in `data/market1501` below it."""

    def __init__(self, shared: Path) -> None:
        self.root = shared if (shared / "splits.json").is_file() else shared / "data" / "market1501"
        self.splits = json.loads((self.root / "splits.json").read_text())

    def identities(self, split: str) -> list[Crop]:
        """Every crop of a split's identities (`train`, `val`, `test`), sorted by name."""
        wanted = {int(identity) for identity in self.splits[f"{split}_ids"]}
        crops = map(parse, sorted((self.root / "images").glob("*.jpg")))
        return [crop for crop in crops if crop.identity in wanted]

    def retrieval(self, split: str) -> tuple[list[Crop], list[Crop]]:
        """The fixed query and gallery lists of `val` or `test`."""
        lists = self.splits[split]
        query, gallery = ([parse(self.root / "images" / name) for name in lists[part]] for part in ("query", "gallery"))
        return query, gallery


def load_rgb(path: Path, height: int, width: int) -> np.ndarray:
    """Picture -> `[H, W, 3]` u8 RGB, stretched with half-pixel bilinear sampling as the device does."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f"cannot read {path}")
    picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def load_crops(crops: list[Crop], height: int, width: int) -> np.ndarray:
    """Pictures -> `[n, H, W, 3]` u8 RGB."""
    return np.stack([load_rgb(crop.path, height, width) for crop in crops])


def random_train_crops(shared: Path, count: int, seed: int) -> list[Crop]:
    """`count` training crops drawn at random, all if there are fewer."""
    crops = Market(shared).identities("train")
    chosen = np.random.default_rng(seed).choice(len(crops), min(count, len(crops)), replace=False)
    return [crops[index] for index in chosen]


def random_train_pictures(shared: Path, count: int, height: int, width: int, seed: int) -> np.ndarray:
    """`count` training crops drawn at random, `[count, H, W, 3]` u8 RGB."""
    return load_crops(random_train_crops(shared, count, seed), height, width)


def normalise(pictures: np.ndarray) -> np.ndarray:
    """`[n, H, W, 3]` u8 RGB -> `[n, 3, H, W]` float32 network input."""
    scaled = (pictures.astype(np.float32) - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """L2-normalises the rows of `[n, D]`."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rotation(rows: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Orthogonal R `[D, D]` with the least `|rows R - onto|`, both `[n, D]` (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(rows.T @ onto)
    return (left @ right).astype(np.float32)


def ranking_scores(similarity: np.ndarray, query: list[Crop], gallery: list[Crop]) -> tuple[float, float]:
    """mAP and Rank-1 in percent of `[queries, gallery]` similarities.

    Gallery crops of the query's identity from the query's own camera are left out, as is usual for
    Market-1501. A query without any other crop of its identity is not counted.
    """
    gallery_ids = np.array([crop.identity for crop in gallery])
    gallery_cameras = np.array([crop.camera for crop in gallery])
    precisions, firsts = [], []
    for row, crop in zip(similarity, query, strict=True):
        order = np.argsort(-row, kind="stable")
        same = gallery_ids[order] == crop.identity
        kept = ~(same & (gallery_cameras[order] == crop.camera))
        hits = same[kept]
        if not hits.any():
            continue
        ranks = np.flatnonzero(hits) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        firsts.append(hits[0])
    return 100 * float(np.mean(precisions)), 100 * float(np.mean(firsts))


def retrieval_scores(query_rows: np.ndarray, gallery_rows: np.ndarray, query: list[Crop], gallery: list[Crop]) -> tuple[float, float]:
    """mAP and Rank-1 in percent by cosine similarity of embeddings `[n, D]`."""
    return ranking_scores(unit_rows(query_rows) @ unit_rows(gallery_rows).T, query, gallery)
