"""Trains NFormer on cached embeddings of people the backbone has not seen, and writes `nformer.safetensors`.

    python train.py --shared "$NFORMER_EDGE_SHARED" --unseen out/f0/best.pt out/f1/best.pt --out out --weights nformer.safetensors
"""

from __future__ import annotations

import argparse
import copy
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from features import DEFAULT_BACKBONE, DEFAULT_SHARED, Crop, Market, fold_of, split_rows, unit_rows, unseen_rows
from nformer import NFormer, Shape, reciprocal_neighbours, save
from retrieval import Lists, online_neighbours, scores, track_means, track_numbers

TRAINED_ON = "Market-1501 train split (421 identities); research data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--backbone", type=Path, default=DEFAULT_BACKBONE)
    parser.add_argument("--unseen", type=Path, nargs="+", default=[], help="checkpoint F was trained without fold F; none: the backbone knows nobody")
    parser.add_argument("--out", type=Path, default=Path("out"), help="checkpoints and cached features")
    parser.add_argument("--weights", type=Path, help="where to write the file that ships")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--feed-forward", type=int, default=8)
    parser.add_argument("--landmarks", type=int, default=64)
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--attention-temperature", type=float, default=0.2, help="at the start; later it is learned")
    parser.add_argument("--share", type=float, default=50.0, help="weight of the neighbours beside the row itself, at the start")
    parser.add_argument("--mean-weight", type=float, default=0.05, help="w of the head at the start")
    parser.add_argument("--seen", type=float, default=0.0, help="share of the shipped backbone's own row in a training row")
    parser.add_argument("--only-fold", type=int, help="train on this fold alone: the other is left to measure on")
    parser.add_argument("--people", type=int, nargs="+", default=(60, 100, 150), help="identities of a training stream")
    parser.add_argument("--buffers", type=int, nargs="+", default=(64, 128, 256))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--learn", choices=("attention", "all"), default="attention", help="all: V, output projection and feed-forward as well")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--weight-decay", type=float, default=1e-2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--temperature", type=float, default=0.05, help="of the loss")
    parser.add_argument("--first", type=float, default=3.0, help="weight of the loss that follows Rank-1")
    parser.add_argument("--validate-every", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Streams:
    """Draws training streams: all crops of some people of one fold, in order of capture, as a device would see them. A row is the
    mean of its track so far, and the buffer holds one row a track."""

    def __init__(self, crops: list[Crop], rows: np.ndarray, folds: np.ndarray, args: argparse.Namespace) -> None:
        self.args = args
        self.tracks = np.array(track_numbers(crops))
        self.rows = track_means(torch.from_numpy(rows), self.tracks.tolist())
        self.identities = np.array([crop.identity for crop in crops])
        self.cameras = np.array([crop.camera for crop in crops])
        used = np.unique(folds) if args.only_fold is None else [args.only_fold]
        self.people = [np.unique(self.identities[folds == fold]) for fold in used]
        self.rng = np.random.default_rng(args.seed)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unit rows `[n, D]`, who and which camera `[n]`, and each row's neighbours at its arrival `[n, n]`."""
        people = self.people[self.rng.integers(len(self.people))]
        count = min(len(people), int(self.rng.choice(self.args.people)))
        chosen = np.flatnonzero(np.isin(self.identities, self.rng.choice(people, count, replace=False)))
        rows = self.rows[torch.from_numpy(chosen)]
        neighbours = online_neighbours(rows, int(self.rng.choice(self.args.buffers)), self.args.top_k, self.tracks[chosen].tolist())
        return rows, torch.from_numpy(self.identities[chosen]), torch.from_numpy(self.cameras[chosen]), neighbours


def retrieval_losses(rows: torch.Tensor, identities: torch.Tensor, cameras: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """How badly unit rows `[n, D]` find the crops of their person by other cameras among everybody else's: (all, first).

    *All*: for a row and each of its right answers the softmax cross-entropy of that answer against all wrong ones, mean
    over the answers; it follows mAP. *First*: the cross-entropy of any right answer against all wrong ones; it follows Rank-1. Both are means
    over the rows that have an answer. Crops of the person by the row's own camera count neither way, as when retrieval is scored.
    """
    similarity = rows @ rows.T / temperature
    same = identities[:, None] == identities
    right = same & (cameras[:, None] != cameras)
    asked = right.any(dim=1)
    similarity, same, right = similarity[asked], same[asked], right[asked]
    wrong = similarity.masked_fill(same, -math.inf).logsumexp(dim=1)
    every = (F.softplus(wrong[:, None] - similarity) * right).sum(dim=1) / right.sum(dim=1)
    first = F.softplus(wrong - similarity.masked_fill(~right, -math.inf).logsumexp(dim=1))
    return every.mean(), first.mean()


class Trainer:
    """Model and optimizer: what a checkpoint holds."""

    def __init__(self, rows: np.ndarray, args: argparse.Namespace) -> None:
        self.args = args
        shape = Shape(rows.shape[1], heads=args.heads, feed_forward=args.feed_forward)
        self.model = NFormer(shape, args.landmarks, args.dropout)
        self.model.start_as_cosine(torch.from_numpy(rows), args.attention_temperature, args.share, args.mean_weight)
        if args.learn == "attention":
            for layer in self.model.layers:
                for part in (layer.out, layer.ffn1, layer.ffn2):
                    part.requires_grad_(False)
                # V is the last third of one matrix with Q and K.
                values = torch.arange(2 * shape.width, 3 * shape.width)
                for parameter in (layer.qkv.weight, layer.qkv.bias):
                    parameter.register_hook(lambda gradient: gradient.index_fill(0, values, 0))
        # One number for all people, and agents whose size is the temperature: they may move faster than the matrices.
        fast = {"agents": 3, "mean_weight": 10}
        groups = [{"params": [p], "lr": args.rate * fast.get(name, 1)} for name, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=args.weight_decay)
        warm_up = max(1, args.steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / warm_up, 0.01 + 0.5 * (1 + math.cos(math.pi * min(1, step / max(1, args.steps))))),
        )
        self.done = 0

    def step(self, rows: torch.Tensor, identities: torch.Tensor, cameras: torch.Tensor, neighbours: torch.Tensor) -> float:
        """One update on one stream."""
        self.model.train()
        # Rows of a stream resemble each other: its own mean and variance would depend on who happens to be there.
        self.model.bn.eval()
        every, first = retrieval_losses(self.model(rows, neighbours), identities, cameras, self.args.temperature)
        loss = every + self.args.first * first
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        # The program refuses a path that subtracts.
        self.model.mean_weight.data.clamp_(min=0)
        self.schedule.step()
        self.done += 1
        return loss.item()

    def state(self) -> dict:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")}
        return parts | {"done": self.done}

    def restore(self, state: dict) -> None:
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.done = state["done"]


class Validation:
    """`val` in one pool, and with one row a track in buffers of 64 and 256; the neighbours are found once."""

    def __init__(self, crops: list[Crop], rows: np.ndarray, lists: Lists, top_k: int) -> None:
        self.lists = lists
        plain, tracks = torch.from_numpy(rows), track_numbers(crops)
        means = track_means(plain, tracks)
        self.streams = {"pool": (plain, reciprocal_neighbours(plain, top_k))}
        self.streams |= {f"online {buffer}": (means, online_neighbours(means, buffer, top_k, tracks)) for buffer in (64, 256)}

    @torch.no_grad()
    def report(self, model: NFormer) -> str:
        """mAP and Rank-1 of each."""
        found = {name: scores(model(rows, mask), self.lists) for name, (rows, mask) in self.streams.items()}
        return "  ".join(f"{name} {mean_ap:.1f}/{rank_1:.1f}" for name, (mean_ap, rank_1) in found.items())


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    market = Market(args.shared)
    crops, rows = split_rows(market, "train", args.backbone, args.out)
    folds = fold_of(crops, max(1, len(args.unseen)))
    if args.unseen:
        rows = unit_rows(args.seen * rows + (1 - args.seen) * unseen_rows(crops, rows, args.unseen, args.out))
    val_crops, val_rows = split_rows(market, "val", args.backbone, args.out)
    validation = Validation(val_crops, val_rows, Lists(market, "val", val_crops), args.top_k)

    streams = Streams(crops, rows, folds, args)
    trainer = Trainer(rows, args)
    checkpoint = args.out / "last.pt"
    if args.resume and checkpoint.exists():
        trainer.restore(torch.load(checkpoint, weights_only=True))
    print(f"start: w {trainer.model.mean_weight.item():.2f} val mAP/R1 {validation.report(copy.deepcopy(trainer.model).eval())}", flush=True)
    while trainer.done < args.steps:
        loss = trainer.step(*streams.draw())
        if trainer.done % args.validate_every == 0 or trainer.done == args.steps:
            model = copy.deepcopy(trainer.model).eval()
            print(f"step {trainer.done:4} loss {loss:.3f} w {model.mean_weight.item():.2f} val mAP/R1 {validation.report(model)}", flush=True)
            torch.save(trainer.state(), checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    if args.weights:
        save(trainer.model.eval(), args.weights, args.top_k, TRAINED_ON)


if __name__ == "__main__":
    main()
