"""Embeddings of the int8 backbone for a split's crops, cached outside the repository."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

# The crops, splits, metrics and the ONNX runner live beside the backbone: there must be one of each.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reid_backbone"))

from backbone import Backbone  # noqa: E402
from data import Crop, Market, retrieval_scores, unit_rows  # noqa: E402

__all__ = ["DEFAULT_BACKBONE", "Crop", "Market", "retrieval_scores", "split_rows"]

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
