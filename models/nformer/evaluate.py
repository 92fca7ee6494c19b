"""Retrieval with and without NFormer on one split, and the similarities the gallery's threshold rests on.

    python evaluate.py --shared "$NFORMER_EDGE_SHARED" --split val --search-k
    python evaluate.py --shared "$NFORMER_EDGE_SHARED" --split test
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from features import DEFAULT_BACKBONE, DEFAULT_SHARED, Crop, Market, split_rows
from nformer import load, neighbourhood_mean, reciprocal_neighbours
from retrieval import Lists, online_neighbours, scores, track_means, track_numbers

BUFFERS = (64, 256)
SEARCHED_K = (2, 3, 4, 5, 6, 8, 10, 15, 20)
FALSE_MATCH_RATES = (0.01, 0.05)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--backbone", type=Path, default=DEFAULT_BACKBONE)
    parser.add_argument("--weights", type=Path, default=Path("nformer.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("out"), help="cached features")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--pool-k", type=int, default=10, help="k of the control without training in one pool, chosen on val")
    parser.add_argument("--online-k", type=int, nargs=len(BUFFERS), default=(3, 5), help="the same online, for each buffer of crops")
    parser.add_argument("--track-k", type=int, nargs=len(BUFFERS), default=(3, 3), help="the same for each buffer of tracks")
    parser.add_argument("--search-k", action="store_true", help="show the control for several k; for val only")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def mean_rows(rows: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """The control without training: unit mean over the reciprocal neighbours, `[n, D]`."""
    return F.normalize(neighbourhood_mean(rows, neighbours), dim=-1)


def prototype_similarities(rows: torch.Tensor, crops: list[Crop]) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each arriving unit row to its own identity's prototype and to the best other one.

    A prototype is the mean direction of the rows of an identity that arrived before. Rows that come
    before any prototype of the kind are left out of that list.
    """
    sums: dict[int, torch.Tensor] = {}
    own, other = [], []
    for row, crop in zip(rows, crops, strict=True):
        if sums:
            names = list(sums)
            similarity = F.normalize(torch.stack([sums[name] for name in names]), dim=-1) @ row
            found = dict(zip(names, similarity.tolist(), strict=True))
            if crop.identity in found:
                own.append(found.pop(crop.identity))
            if found:
                other.append(max(found.values()))
        sums[crop.identity] = sums.get(crop.identity, torch.zeros_like(row)) + row
    return np.array(own), np.array(other)


def report(name: str, rows: torch.Tensor, lists: Lists) -> None:
    mean_ap, rank_1 = scores(rows, lists)
    print(f"{name:52} mAP {mean_ap:5.1f}  Rank-1 {rank_1:5.1f}", flush=True)


def report_thresholds(name: str, rows: torch.Tensor, crops: list[Crop]) -> None:
    """Thresholds at fixed false match rates, and how many true matches pass them."""
    own, other = prototype_similarities(rows, crops)
    quartiles = " ".join(f"{value:.3f}" for value in np.quantile(own, (0.05, 0.25, 0.5)))
    print(f"{name}: own prototype, quantiles 5/25/50 %: {quartiles}; best other, median {np.median(other):.3f}")
    for rate in FALSE_MATCH_RATES:
        threshold = np.quantile(other, 1 - rate)
        print(f"  false matches {rate:.0%}: threshold {threshold:.3f}, true matches kept {np.mean(own >= threshold):.1%}")


@torch.no_grad()
def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    market = Market(args.shared)
    crops, features = split_rows(market, args.split, args.backbone, args.out)
    rows = torch.from_numpy(features)
    lists = Lists(market, args.split, crops)
    model, top_k = load(args.weights)
    if model.shape.layers != 1:
        raise SystemExit("the online rows are computed by a mask that is exact for one layer only")

    report("embedding as it is", rows, lists)
    for k in SEARCHED_K if args.search_k else (args.pool_k,):
        report(f"mean over reciprocal neighbours, k {k}, one pool", mean_rows(rows, reciprocal_neighbours(rows, k)), lists)
    report(f"NFormer, k {top_k}, one pool", model(rows, reciprocal_neighbours(rows, top_k)), lists)
    tracks = track_numbers(crops)
    means = track_means(rows, tracks)
    report("running mean per track", means, lists)
    streams = {"embedding as it is": rows}
    for kind, held, owners, controls in (("crops", rows, None, args.online_k), ("tracks", means, tracks, args.track_k)):
        for buffer, online_k in zip(BUFFERS, controls, strict=True):
            where = f"online, N {buffer} {kind}"
            for k in SEARCHED_K if args.search_k else (online_k,):
                neighbours = online_neighbours(held, buffer, k, owners)
                report(f"mean over reciprocal neighbours, k {k}, {where}", mean_rows(held, neighbours), lists)
            fused = model(held, online_neighbours(held, buffer, top_k, owners))
            report(f"NFormer, k {top_k}, {where}", fused, lists)
            streams[f"NFormer, {where}"] = fused
    print()
    for name, stream in streams.items():
        report_thresholds(name, stream, crops)


if __name__ == "__main__":
    main()
