"""Retrieval by the shipped backbone through our worker and through ONNX Runtime: the engine must not cost accuracy."""

import sys
import time

import numpy as np

from onnx_graph import session
from onnx_models import ROOT, SHARED, SHIPPED

# Points of mAP that rounding in another order may move.
TOLERANCE = 0.2


def evaluate(worker_of):
    """Prints mAP and Rank-1 on the `val` split; ends with an error if ours is off.

    ONNX Runtime with and without graph optimisation differs from itself, by about as much as `TOLERANCE` and by a query
    in Rank-1. Ours may lie between the two or `TOLERANCE` of mAP and one query outside.
    """
    if not (SHARED / "data/market1501/splits.json").exists():
        print(f"SKIPPED: no crops in {SHARED / 'data/market1501'}")
        return
    sys.path.insert(0, str(ROOT / "models/reid_backbone"))
    from data import Market, load_crops, normalise, retrieval_scores

    path = str(SHIPPED["shipped_backbone"])
    plain, fused, worker = session(path, optimised=False), session(path), worker_of(path)
    source = plain.get_inputs()[0]
    height, width = source.shape[2:]
    engines = {
        "ONNX Runtime, graph optimisation off": lambda x: plain.run(None, {source.name: x})[0].ravel(),
        "ONNX Runtime, default": lambda x: fused.run(None, {source.name: x})[0].ravel(),
        "ours": lambda x: worker.run(x)[0],
    }
    parts = Market(SHARED).retrieval("val")
    query, gallery = ([normalise(crop[None]) for crop in load_crops(part, height, width)] for part in parts)
    scores = {}
    print(f"{len(query)} queries, {len(gallery)} in the gallery, split `val`")
    for name, run in engines.items():
        start = time.perf_counter()
        rows = [np.stack([run(x) for x in part]) for part in (query, gallery)]
        scores[name] = retrieval_scores(*rows, *parts)
        print(f"{name:<38} mAP {scores[name][0]:6.2f}  Rank-1 {scores[name][1]:6.2f}   ({time.perf_counter() - start:.0f} s)", flush=True)
    allowed = TOLERANCE, 100 / len(query) + 0.1
    (ours, others) = scores.pop("ours"), list(scores.values())
    for metric, found, tolerance, *references in zip(("mAP", "Rank-1"), ours, allowed, *others):
        if not min(references) - tolerance <= found <= max(references) + tolerance:
            raise SystemExit(f"{metric} of ours is more than {tolerance:.2f} outside of what ONNX Runtime gives")
    distances = ", ".join(f"{ours[0] - other[0]:+.2f} mAP {ours[1] - other[1]:+.2f} Rank-1" for other in others)
    print(f"ours against the two: {distances}")
