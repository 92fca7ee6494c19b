"""Retrieval by the shipped backbone through our worker and through ONNX Runtime: the engine must not cost accuracy."""

import sys

import numpy as np

from onnx_exact import Exact
from onnx_graph import cosine, session
from onnx_models import ROOT, SHARED, SHIPPED

# Points that the mean of ours may lie from the mean of ONNX Runtime.
TOLERANCE = 0.2
REPEATS = 10
# Added to the normalised pictures: far below what one level of a pixel is (0.017), far above what a float loses.
NOISE = 1e-5
CHECKED = 8


def agreement(engines, exact, pictures):
    """Prints how near each engine is to the graph computed in float64, and to ONNX Runtime without graph optimisation."""
    ideal = [exact.run(x)[0] for x in pictures]
    outputs = {name: [run(x) for x in pictures] for name, run in engines.items()}
    reference = next(iter(outputs.values()))
    print(f"cosine over {len(pictures)} crops, smallest and median, to the same graph in float64 / to the first line")
    for name, found in outputs.items():
        to_ideal, to_first = ([cosine([a], [b]) for a, b in zip(found, other)] for other in (ideal, reference))
        pairs = " / ".join(f"{min(values):.5f} {np.median(values):.5f}" for values in (to_ideal, to_first))
        print(f"{name:<38} {pairs}", flush=True)


def evaluate(worker_of):
    """Prints mAP and Rank-1 on the `val` split; ends with an error if ours is off.

    A quantised network is not steady: where a sum lies between two steps, the last bit of a float decides, and the layers behind
    make more of it. The same engine on pictures changed by 1e-5 differs from itself by half a point of mAP. So each engine
    sees `REPEATS` such changes, the same for all, and the means are compared.
    """
    if not (SHARED / "data/market1501/splits.json").exists():
        print(f"SKIPPED: no crops in {SHARED / 'data/market1501'}")
        return
    sys.path.insert(0, str(ROOT / "models/reid_backbone"))
    from data import Market, load_crops, normalise, retrieval_scores

    path = str(SHIPPED["shipped_backbone"])
    plain, fused, worker = session(path, optimised=False), session(path), worker_of(path)
    source = plain.get_inputs()[0]
    engines = {
        "ONNX Runtime, graph optimisation off": lambda x: plain.run(None, {source.name: x})[0].ravel(),
        "ONNX Runtime, default": lambda x: fused.run(None, {source.name: x})[0].ravel(),
        "ours": lambda x: worker.run(x)[0],
    }
    parts = Market(SHARED).retrieval("val")
    crops = normalise(load_crops([*parts[0], *parts[1]], *source.shape[2:]))
    agreement(engines, Exact(path), [crop[None] for crop in crops[:: len(crops) // CHECKED][:CHECKED]])
    scores = {name: [] for name in engines}
    print(f"{len(parts[0])} queries, {len(parts[1])} in the gallery, split `val`, {REPEATS} changes of {NOISE:.0e}")
    for repeat in range(REPEATS):
        noise = np.random.default_rng(repeat).normal(scale=NOISE, size=crops.shape).astype(np.float32)
        for name, run in engines.items():
            rows = np.stack([run(crop[None]) for crop in crops + noise])
            scores[name].append(retrieval_scores(rows[: len(parts[0])], rows[len(parts[0]) :], *parts))
    for name, found in scores.items():
        (mean_ap, rank_1), (spread_ap, spread_1) = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        print(f"{name:<38} mAP {mean_ap:6.2f} (deviation {spread_ap:.2f})  Rank-1 {rank_1:6.2f} ({spread_1:.2f})", flush=True)
    means = {name: np.mean(found, axis=0) for name, found in scores.items()}
    ours, others = means.pop("ours"), list(means.values())
    for metric, found, *references in zip(("mAP", "Rank-1"), ours, *others):
        # Two means of ten are themselves known to a third of one run's deviation only.
        if not min(references) - TOLERANCE <= found <= max(references) + TOLERANCE:
            raise SystemExit(f"{metric} of ours is more than {TOLERANCE:.2f} outside of what ONNX Runtime gives")
    print("ours against the two: " + ", ".join("{:+.2f} mAP {:+.2f} Rank-1".format(*(ours - other)) for other in others))
