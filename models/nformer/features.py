"""Embeddings of a split's crops, cached outside the repository: by the backbone that ships, and by ones that never saw these people."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch

# The crops, splits, metrics and the ONNX runner live beside the backbone: there must be one of each.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reid_backbone"))

from backbone import Backbone  # noqa: E402
from data import DEFAULT_SHARED, Crop, Market, retrieval_scores, rotation, unit_rows  # noqa: E402
from export import Folded, load  # noqa: E402

__all__ = ["DEFAULT_BACKBONE", "DEFAULT_SHARED", "Crop", "Market", "fold_of", "retrieval_scores", "rotation", "split_rows", "unit_rows", "unseen_rows"]

DEFAULT_BACKBONE = Path(__file__).resolve().parent.parent / "reid_backbone" / "mobilenetv2_reid_int8.onnx"


def split_rows(market: Market, split: str, backbone: Path, cache: Path) -> tuple[list[Crop], np.ndarray]:
    """A split's crops in order of capture and their unit embeddings `[n, D]` float32."""
    crops = sorted(market.identities(split), key=lambda crop: (crop.time, crop.camera, crop.path.name))
    digest = hashlib.sha256(backbone.read_bytes()).hexdigest()[:16]
    path = cache / f"{digest}-{split}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, Backbone(backbone).embed(crops))
    return crops, unit_rows(np.load(path)).astype(np.float32)


def fold_of(crops: list[Crop], folds: int) -> np.ndarray:
    """For each crop the fold that left its identity out, `[n]`, as `reid_backbone/train.py --folds` counts them."""
    identities = sorted({crop.identity for crop in crops})
    place = {identity: index % folds for index, identity in enumerate(identities)}
    return np.array([place[crop.identity] for crop in crops])


def checkpoint_rows(crops: list[Crop], checkpoint: Path, cache: Path) -> np.ndarray:
    """Unit embeddings `[n, D]` of a float checkpoint of `reid_backbone/train.py`."""
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()[:16]
    path = cache / f"{digest}-{len(crops)}-crops.npy"
    if not path.exists():
        model = load(checkpoint)
        graph = cache / f"{digest}.onnx"
        images = torch.zeros(1, 3, *model.size)
        torch.onnx.export(Folded(model).eval(), (images,), str(graph), opset_version=13, input_names=["images"], dynamo=False)
        np.save(path, Backbone(graph).embed(crops))
    return unit_rows(np.load(path)).astype(np.float32)


def unseen_rows(crops: list[Crop], rows: np.ndarray, checkpoints: list[Path], cache: Path) -> np.ndarray:
    """Unit embeddings `[n, D]` of training crops by a backbone that has not seen their people, in the space of `rows`.

    `rows` are those of the backbone that ships, which has seen all of them: its rows of one person lie closer together than
    a stranger's ever will. Checkpoint F was trained without fold F of `fold_of` and embeds just that fold. Its space is
    turned into the one of `rows` by the rotation that fits best over all crops (orthogonal Procrustes), which keeps
    every similarity within the fold as it is.
    """
    folds = fold_of(crops, len(checkpoints))
    unseen = np.empty_like(rows)
    for fold, checkpoint in enumerate(checkpoints):
        found = checkpoint_rows(crops, checkpoint, cache)
        held_out = folds == fold
        unseen[held_out] = found[held_out] @ rotation(found, rows)
    return unseen
