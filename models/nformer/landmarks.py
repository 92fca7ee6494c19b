"""Chooses the landmark agents that are stored with the weights.

A landmark is one vector of a layer's input; its K and its Q projection are the pair of agents of every head.
Projecting a centroid equals the centroid of the projections, so clustering happens once, before the heads.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans

from nformer import NFormer, reciprocal_neighbours


def kmeans(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Centroids of `[n, D]` rows, `[count, D]`."""
    return KMeans(count, n_init=3, random_state=seed).fit(rows).cluster_centers_.astype(np.float32)


def farthest(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows picked one after another, each the farthest from those before it, `[count, D]`."""
    chosen = [int(np.random.default_rng(seed).integers(len(rows)))]
    distance = np.full(len(rows), np.inf, np.float32)
    while len(chosen) < count:
        distance = np.minimum(distance, np.linalg.norm(rows - rows[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return rows[chosen]


def drawn(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows at random, `[count, D]`."""
    return rows[np.random.default_rng(seed).choice(len(rows), count, replace=False)]


PICKERS = {"kmeans": kmeans, "farthest": farthest, "random": drawn}


@torch.no_grad()
def fix_agents(model: NFormer, rows: torch.Tensor, top_k: int, picker: str, seed: int, sample: int = 1500) -> None:
    """Fills the agents of every layer from training rows `[n, D]` as that layer sees them."""
    chosen = np.random.default_rng(seed).choice(len(rows), min(sample, len(rows)), replace=False)
    rows = rows[torch.from_numpy(np.sort(chosen))]
    neighbours = reciprocal_neighbours(rows, top_k)
    for index, layer in enumerate(model.layers):
        landmarks = PICKERS[picker](rows.numpy(), model.agents.shape[3], seed)
        keys, queries = layer.agents_of(torch.from_numpy(landmarks))
        model.agents[index, 0], model.agents[index, 1] = keys, queries
        rows = layer(rows, neighbours, (keys, queries))
