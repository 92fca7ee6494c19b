"""Writes `reference.json`: made crops, and their retrieval figures by other people's implementations.

    pip install numpy==2.4.6 scikit-learn==1.9.1
    python tests/eval/reference.py

Average precision is scikit-learn's. Re-ranking follows the code published with Zhong et al., CVPR 2017, on dense matrices.
CMC and mINP are counted from the sorted labels.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import average_precision_score

# Name, seed, crops, people, cameras, floats of a row, noise: without noise each person is one point.
CASES = (("random", 1, 70, 9, 3, 6, 1e9), ("clusters", 2, 90, 12, 4, 8, 0.9), ("one camera often", 3, 60, 4, 2, 5, 1.5))


def made(seed: int, crops: int, people: int, cameras: int, width: int, noise: float) -> tuple[np.ndarray, ...]:
    """Unit rows, identities from 0 (0 is nobody's match), cameras, and which crops are queries."""
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, people, crops)
    camera = rng.integers(0, cameras, crops)
    centre = rng.normal(size=(people, width))
    rows = centre[identity] / max(noise, 1.0) + min(noise, 1.0) * rng.normal(size=(crops, width))
    # Four decimals are what the file keeps: compute with those.
    rows = np.round(rows / np.linalg.norm(rows, axis=1, keepdims=True), 4)
    return rows, identity, camera, (rng.random(crops) < 0.3) & (identity > 0)


def figures(similarity: np.ndarray, identity: np.ndarray, camera: np.ndarray, query: np.ndarray, gallery: np.ndarray) -> dict[str, float]:
    """Percent, over the queries that have a crop of another camera to be found."""
    found = []
    for row, asked in zip(similarity, query, strict=True):
        kept = (identity[gallery] != identity[asked]) | (camera[gallery] != camera[asked])
        right = (identity[gallery] == identity[asked])[kept]
        if not right.any():
            continue
        ranks = np.flatnonzero(right[np.argsort(-row[kept], kind="stable")]) + 1
        within = [float(ranks[0] <= rank) for rank in (1, 5, 10)]
        found.append([average_precision_score(right, row[kept]), *within, len(ranks) / ranks[-1]])
    means = 100 * np.mean(found, axis=0)
    return {"queries": len(found), **dict(zip(("map", "rank1", "rank5", "rank10", "minp"), means.tolist(), strict=True))}


def reranked(rows: np.ndarray, query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, share: float = 0.3) -> np.ndarray:
    """Similarities `[queries, gallery]` after k-reciprocal re-ranking among all rows, step by step as published."""
    order = np.concatenate([query, gallery])
    rows = rows[order]
    original = np.maximum(2 - 2 * rows @ rows.T, 0)
    np.fill_diagonal(original, 0)
    original = (original / original.max(axis=0)).T
    ranks = np.argsort(original, axis=1, kind="stable")
    count = len(rows)
    weights = np.zeros_like(original)
    half = int(np.around(k1 / 2))
    for i in range(count):
        forward = ranks[i, : k1 + 1]
        reciprocal = forward[(ranks[forward, : k1 + 1] == i).any(axis=1)]
        expanded = reciprocal
        for candidate in reciprocal:
            theirs = ranks[candidate, : half + 1]
            theirs = theirs[(ranks[theirs, : half + 1] == candidate).any(axis=1)]
            if len(np.intersect1d(theirs, reciprocal)) > 2 / 3 * len(theirs):
                expanded = np.append(expanded, theirs)
        expanded = np.unique(expanded)
        weight = np.exp(-original[i, expanded])
        weights[i, expanded] = weight / weight.sum()
    weights = np.stack([weights[ranks[i, :k2]].mean(axis=0) for i in range(count)])
    common = np.stack([np.minimum(weights[i], weights).sum(axis=1) for i in range(len(query))])
    distance = (1 - common / (2 - common)) * (1 - share) + original[: len(query)] * share
    return -distance[:, len(query) :]


def main() -> None:
    cases = []
    for name, *arguments in CASES:
        rows, identity, camera, asks = made(*arguments)
        query, gallery = np.flatnonzero(asks), np.flatnonzero(~asks)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cases.append(
            {
                "name": name,
                "width": rows.shape[1],
                "rows": rows.ravel().tolist(),
                "identity": identity.tolist(),
                "camera": camera.tolist(),
                "query": query.tolist(),
                "gallery": gallery.tolist(),
                "cosine": figures(unit[query] @ unit[gallery].T, identity, camera, query, gallery),
                "reranked": figures(reranked(unit, query, gallery), identity, camera, query, gallery),
            }
        )
    path = Path(__file__).with_name("reference.json")
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    for case in cases:
        print(case["name"], case["cosine"], case["reranked"])


if __name__ == "__main__":
    main()
