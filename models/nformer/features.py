"""Embeddings of the int8 backbone for a split's crops, cached outside the repository."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np

# The crops, splits, metrics and the ONNX runner live beside the backbone: there must be one of each.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reid_backbone"))

from backbone import Backbone  # noqa: E402
from data import Crop, Market, load_crops, retrieval_scores, unit_rows  # noqa: E402

__all__ = ["DEFAULT_BACKBONE", "Crop", "Market", "degraded_rows", "retrieval_scores", "split_rows"]

DEFAULT_BACKBONE = Path(__file__).resolve().parent.parent / "reid_backbone" / "mobilenetv2_reid_int8.onnx"


def split_rows(market: Market, split: str, backbone: Path, cache: Path) -> tuple[list[Crop], np.ndarray]:
    """A split's crops in order of capture and their unit embeddings `[n, D]` float32."""
    crops = sorted(market.identities(split), key=lambda crop: (crop.time, crop.camera, crop.path.name))
    digest = hashlib.sha256(backbone.read_bytes()).hexdigest()[:16]
    path = cache / f"{digest}-{split}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, Backbone(backbone, threads=1).embed(crops))
    return crops, unit_rows(np.load(path)).astype(np.float32)


def degrade(picture: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A badly cut, partly hidden `[H, W, 3]` picture: shifted, zoomed, recoloured, a piece of `other` before it."""
    height, width = picture.shape[:2]
    zoom = np.exp(rng.uniform(-0.35, 0.35))
    shift_x, shift_y = rng.uniform(-0.2, 0.2, 2)
    matrix = np.array([[zoom, 0, width * ((1 - zoom) / 2 + shift_x)], [0, zoom, height * ((1 - zoom) / 2 + shift_y)]])
    view = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    view = np.clip(view * (rng.uniform(0.6, 1.4) * rng.uniform(0.85, 1.15, 3)), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        tall, wide = int(height * rng.uniform(0.2, 0.6)), int(width * rng.uniform(0.2, 0.7))
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        view[top : top + tall, left : left + wide] = other[top : top + tall, left : left + wide]
    return view


def degraded_rows(crops: list[Crop], backbone: Path, cache: Path, seed: int) -> np.ndarray:
    """Unit embeddings `[n, D]` of degraded crops: as unsure as those of strangers, though the backbone knows these people."""
    digest = hashlib.sha256(backbone.read_bytes()).hexdigest()[:16]
    path = cache / f"{digest}-degraded-{seed}.npy"
    if not path.exists():
        rng = np.random.default_rng(seed)
        network = Backbone(backbone)
        pictures = load_crops(crops, *network.input.shape[2:])
        others = rng.permutation(len(pictures))
        np.save(path, network.embed_pictures(degrade(picture, pictures[at], rng) for picture, at in zip(pictures, others, strict=True)))
    return unit_rows(np.load(path)).astype(np.float32)
