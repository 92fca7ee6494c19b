"""Writes `case.safetensors`: synthetic rows through the shipped weights, for the Rust side to be checked against.

    python parity.py --weights nformer.safetensors --out case.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from nformer import load, reciprocal_neighbours

# Top-k must not hang on the last bits of a similarity, or two right answers would differ.
SMALLEST_GAP = 1e-5


def clustered_rows(count: int, clusters: int, width: int, seed: int) -> torch.Tensor:
    """Unit rows `[count, width]` around random centres that share a common direction, as embeddings do."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=width)
    centres = 0.3 * common + rng.normal(size=(clusters, width))
    rows = centres[rng.integers(0, clusters, count)] + 0.7 * rng.normal(size=(count, width))
    return F.normalize(torch.from_numpy(rows.astype(np.float32)), dim=-1)


def top_k_gap(rows: torch.Tensor, top_k: int) -> float:
    """Smallest difference between the last similarity inside a top-k list and the first outside."""
    ordered = (rows @ rows.T).sort(dim=-1, descending=True).values
    return float((ordered[:, top_k - 1] - ordered[:, top_k]).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("nformer.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("case.safetensors"))
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    model, top_k = load(args.weights)
    rows = clustered_rows(args.rows, max(2, args.rows // 6), model.shape.width, args.seed)
    gap = top_k_gap(rows, top_k)
    if gap < SMALLEST_GAP:
        raise SystemExit(f"two similarities are only {gap:.1e} apart; take another --seed")
    with torch.no_grad():
        neighbours = reciprocal_neighbours(rows, top_k)
        layers = model.layer_outputs(rows, neighbours)
        output = model.normed(layers[-1])
        final = model.head(rows, neighbours, output)
    tensors = {"input": rows, "output": output, "final": final} | {f"layer{index}": value for index, value in enumerate(layers)}
    metadata = {"top_k": str(top_k), "rows": str(args.rows), "synthetic": f"random clusters, seed {args.seed}"}
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(args.out), metadata)
    print(f"{args.out}: {args.rows} rows, k {top_k}, {int(neighbours.sum())} neighbour pairs, smallest gap {gap:.1e}")


if __name__ == "__main__":
    main()
