"""Trains NFormer on cached features of the int8 backbone and writes `nformer.safetensors`.

    python train.py --shared ../shared --out out --weights nformer.safetensors
"""

from __future__ import annotations

import argparse
import copy
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from features import DEFAULT_BACKBONE, Crop, Market, degraded_rows, split_rows
from landmarks import PICKERS, fix_agents
from nformer import NFormer, Shape, reciprocal_neighbours, save
from retrieval import Lists, online_neighbours, scores

TRAINED_ON = "Market-1501 train split (421 identities); research data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--backbone", type=Path, default=DEFAULT_BACKBONE)
    parser.add_argument("--out", type=Path, default=Path("out"), help="checkpoints and cached features")
    parser.add_argument("--weights", type=Path, help="where to write the file that ships")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--landmarks", type=int, default=5)
    parser.add_argument("--picker", choices=PICKERS, default="kmeans")
    parser.add_argument("--top-k", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch-rows", type=int, default=1024)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--degraded", type=float, default=0.7, help="largest share of a degraded crop's row in a training row")
    parser.add_argument("--identity", type=float, default=0.3)
    parser.add_argument("--triplet", type=float, default=1.0)
    parser.add_argument("--centre", type=float, default=5e-4)
    parser.add_argument("--validate-every", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Sets:
    """Draws training sets of rows: half time-ordered buffers, half neighbourhoods of one row.

    The backbone knows the train identities, so their rows cluster better than a stranger's. Each row is therefore
    mixed with the row of the same crop badly cut and partly hidden, by a random share up to `degraded`.
    """

    SIZES = (64, 128, 256, 512)

    def __init__(self, crops: list[Crop], rows: np.ndarray, poor: list[np.ndarray], degraded: float, seed: int) -> None:
        identities = sorted({crop.identity for crop in crops})
        self.labels = np.array([identities.index(crop.identity) for crop in crops])
        self.identities = len(identities)
        self.rows = rows
        self.poor = np.stack(poor)
        self.degraded = degraded
        self.rng = np.random.default_rng(seed)

    def time_ordered(self, size: int) -> np.ndarray:
        """Indices of `size` rows that follow each other in time, of a random share of the identities."""
        share = math.exp(self.rng.uniform(math.log(0.1), 0))
        kept = self.rng.random(self.identities) < share
        stream = np.flatnonzero(kept[self.labels])
        if len(stream) < size:
            stream = np.arange(len(self.labels))
        start = self.rng.integers(0, len(stream) - size + 1)
        return stream[start : start + size]

    def neighbourhood(self, size: int) -> np.ndarray:
        """Indices of the `size` rows nearest to a random one."""
        centre = self.rng.integers(0, len(self.rows))
        return np.argsort(-(self.rows @ self.rows[centre]), kind="stable")[:size]

    def draw(self, batch_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit rows `[sets, M, D]` and labels `[sets, M]`, about `batch_rows` rows in all."""
        size = int(self.rng.choice(self.SIZES))
        pick = (self.time_ordered, self.neighbourhood)
        chosen = np.stack([pick[index % 2](size) for index in range(batch_rows // size)])
        poor = self.poor[self.rng.integers(0, len(self.poor), chosen.shape), chosen]
        share = self.degraded * self.rng.random((*chosen.shape, 1), dtype=np.float32)
        rows = (1 - share) * self.rows[chosen] + share * poor
        return F.normalize(torch.from_numpy(rows), dim=-1), torch.from_numpy(self.labels[chosen])


def batch_hard_triplet(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft-margin triplet loss inside each set on unit rows `[sets, M, D]`; cosine, ten times sharpened."""
    similarity = rows @ rows.transpose(-1, -2)
    same = labels[..., :, None] == labels[..., None, :]
    positive = similarity.masked_fill(~same, math.inf).amin(dim=-1)
    negative = similarity.masked_fill(same, -math.inf).amax(dim=-1)
    found = negative > -math.inf
    return F.softplus(10 * (negative - positive)[found]).mean()


class Trainer:
    """Model, losses and optimizer: what a checkpoint holds."""

    def __init__(self, identities: int, args: argparse.Namespace) -> None:
        self.args = args
        self.model = NFormer(Shape(layers=args.layers), args.landmarks, args.dropout)
        for layer in self.model.layers:
            layer.start_as_mean()
        width = self.model.shape.width
        self.classifier = nn.Linear(width, identities, bias=False)
        self.centres = nn.Parameter(torch.randn(identities, width) * 0.1)
        nn.init.normal_(self.classifier.weight, std=0.001)
        parameters = [*self.model.parameters(), *self.classifier.parameters(), self.centres]
        self.optimizer = torch.optim.Adam(parameters, lr=args.rate, weight_decay=5e-4)
        warm_up = max(1, args.steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / warm_up, 0.01 + 0.5 * (1 + math.cos(math.pi * min(1, step / args.steps)))),
        )
        self.done = 0

    def step(self, rows: torch.Tensor, labels: torch.Tensor) -> float:
        """One update; agents come from random rows of the sets, as in the reference."""
        args, model = self.args, self.model
        model.train()
        neighbours = reciprocal_neighbours(rows, args.top_k)
        landmark_rows = torch.randperm(rows.shape[-2])[: args.landmarks]
        fused = model.layer_outputs(rows, neighbours, landmark_rows)[-1]
        output = model.normed(fused)
        identity = F.cross_entropy(self.classifier(output).flatten(0, -2), labels.flatten(), label_smoothing=0.1)
        triplet = batch_hard_triplet(model.head(rows, neighbours, output), labels)
        centre = (fused - self.centres[labels]).square().sum(dim=-1).mean()
        loss = args.identity * identity + args.triplet * triplet + args.centre * centre
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.done += 1
        return loss.item()

    def state(self) -> dict:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "classifier", "optimizer", "schedule")}
        return parts | {"centres": self.centres.data, "done": self.done}

    def restore(self, state: dict) -> None:
        for name in ("model", "classifier", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.centres.data.copy_(state["centres"])
        self.done = state["done"]


@torch.no_grad()
def validate(model: NFormer, rows: torch.Tensor, lists: Lists, top_k: int) -> dict[str, tuple[float, float]]:
    """mAP and Rank-1 with fixed agents: one pool, and (one layer only) online in a buffer of 64."""
    pool = scores(model(rows, reciprocal_neighbours(rows, top_k)), lists)
    if model.shape.layers > 1:
        return {"pool": pool}
    return {"pool": pool, "online64": scores(model(rows, online_neighbours(rows, 64, top_k)), lists)}


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    market = Market(args.shared)
    crops, rows = split_rows(market, "train", args.backbone, args.out)
    val_crops, val_rows = split_rows(market, "val", args.backbone, args.out)
    lists = Lists(market, "val", val_crops)
    train_rows, val_rows = torch.from_numpy(rows), torch.from_numpy(val_rows)

    poor = [degraded_rows(crops, args.backbone, args.out, seed) for seed in (1, 2)]
    sets = Sets(crops, rows, poor, args.degraded, args.seed)
    trainer = Trainer(sets.identities, args)
    checkpoint = args.out / "last.pt"
    if args.resume and checkpoint.exists():
        trainer.restore(torch.load(checkpoint, weights_only=True))
    while trainer.done < args.steps:
        loss = trainer.step(*sets.draw(args.batch_rows))
        if trainer.done % args.validate_every == 0 or trainer.done == args.steps:
            model = copy.deepcopy(trainer.model).eval()
            fix_agents(model, train_rows, args.top_k, args.picker, args.seed)
            found = "  ".join(f"{name} {a:.1f}/{b:.1f}" for name, (a, b) in validate(model, val_rows, lists, args.top_k).items())
            print(f"step {trainer.done:4} loss {loss:.3f} w {model.mean_weight.item():.2f} val mAP/R1 {found}", flush=True)
            torch.save(trainer.state(), checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
    model = trainer.model.eval()
    fix_agents(model, train_rows, args.top_k, args.picker, args.seed)
    if args.weights:
        save(model, args.weights, args.top_k, TRAINED_ON)


if __name__ == "__main__":
    main()
