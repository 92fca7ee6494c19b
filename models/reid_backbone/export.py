"""Writes a checkpoint as a float ONNX file with plain operators, static shapes and no batch norm left.

Its channels are equalised on training crops, which changes no number that matters. A second file, for the quantiser,
has its weights rounded to the int8 grid.

    python export.py --shared "$NFORMER_EDGE_SHARED" --checkpoint out/b7/best.pt --out out/f32.onnx --rounded out/rounded.onnx
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from backbone import Backbone
from data import DEFAULT_SHARED, Crop, load_crops, normalise, random_train_crops, random_train_pictures, rotation, unit_rows
from equalise import equalise
from model import InvertedResidual, ReidNet
from rounding import round_weights

OPSET = 13


class Folded(nn.Module):
    """The network of `ReidNet` in eval mode with every batch norm folded into its linear operator."""

    def __init__(self, model: ReidNet) -> None:
        super().__init__()
        model.eval()
        self.features = nn.Sequential(*map(fold_block, model.features))
        self.pool = model.pool
        self.head = fold_neck(model.project, model.neck)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.features(images)).flatten(1))


def fold_sequence(layers: nn.Sequential) -> nn.Sequential:
    """Folds each batch norm into the convolution before it."""
    folded: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            folded[-1] = fuse_conv_bn_eval(folded[-1], layer)
        else:
            folded.append(layer)
    return nn.Sequential(*folded)


def fold_block(block: nn.Module) -> nn.Module:
    """Folds a stem (a plain sequence) or an inverted residual, keeping its skip connection."""
    if isinstance(block, InvertedResidual):
        block.conv = fold_sequence(block.conv)
        return block
    return fold_sequence(block)


def fold_neck(project: nn.Linear, neck: nn.BatchNorm1d) -> nn.Linear:
    """`neck(project(x))` in eval mode as one linear layer with a bias."""
    scale = neck.weight / torch.sqrt(neck.running_var + neck.eps)
    head = nn.Linear(project.in_features, project.out_features)
    head.weight = nn.Parameter(project.weight * scale[:, None])
    head.bias = nn.Parameter(neck.bias - neck.running_mean * scale)
    return head


def load(*checkpoints: Path) -> ReidNet:
    """The trained network of a checkpoint, or the one with the mean of their weights, in eval mode."""
    stored = [torch.load(checkpoint, weights_only=True) for checkpoint in checkpoints]
    if any(other["config"] != stored[0]["config"] for other in stored):
        raise SystemExit("the checkpoints are of networks of different shapes: there is no mean of them")
    model = ReidNet(**stored[0]["config"])
    model.load_state_dict({name: torch.stack([one["weights"][name] for one in stored]).float().mean(dim=0) for name in stored[0]["weights"]})
    return model.eval()


@torch.no_grad()
def turn(network: Folded, crops: list[Crop], size: tuple[int, int], earlier: Path) -> None:
    """Turns the embeddings so that they agree best with those of the ONNX file `earlier`: one rotation of the head, which
    changes no similarity, and what was trained on rows of that file goes on working."""
    onto = unit_rows(Backbone(earlier).embed(crops))
    rows = np.concatenate([network(torch.from_numpy(normalise(load_crops([crop], *size)))).numpy() for crop in crops])
    before = (unit_rows(rows) * onto).sum(axis=1).mean()
    turned = torch.from_numpy(rotation(unit_rows(rows), onto))
    network.head.weight.copy_(turned.T @ network.head.weight)
    network.head.bias.copy_(turned.T @ network.head.bias)
    after = (unit_rows(rows @ turned.numpy()) * onto).sum(axis=1).mean()
    print(f"mean cosine to the embeddings of {earlier.name}: {before:.3f}, turned {after:.3f}")


def write(network: nn.Module, images: torch.Tensor, path: Path) -> np.ndarray:
    """Exports `network` for inputs like `images [1, 3, H, W]`; returns what ONNX Runtime computes for them."""
    torch.onnx.export(
        network, (images,), str(path), opset_version=OPSET, input_names=["images"], output_names=["embedding"], dynamo=False
    )
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["embedding"], {"images": images.numpy()})[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--crops", type=int, default=128, help="training crops the channel ranges are taken from")
    parser.add_argument("--rounding-crops", type=int, default=64)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="of several the mean of their weights")
    parser.add_argument("--out", type=Path, required=True, help="float ONNX file")
    parser.add_argument("--rounded", type=Path, help="float ONNX file with weights on the int8 grid")
    parser.add_argument("--like", type=Path, help="ONNX file of an earlier training, whose embeddings these shall resemble")
    parser.add_argument("--like-crops", type=int, default=2048, help="training crops the rotation is found on")
    args = parser.parse_args()

    model = load(*args.checkpoint)
    pictures = random_train_pictures(args.shared, args.crops, *model.size, args.seed)
    # The first is kept out of the ranges: it checks the result.
    images, seen = torch.from_numpy(normalise(pictures)).split([1, len(pictures) - 1])
    folded = Folded(copy.deepcopy(model)).eval()
    if args.like:
        turn(folded, random_train_crops(args.shared, args.like_crops, args.seed), model.size, args.like)
    with torch.no_grad():
        expected = folded(images).numpy() if args.like else model(images).numpy()
    equalise(folded, seen)
    exported = write(folded, images, args.out)
    error = np.abs(exported - expected).max() / np.abs(expected).max()
    print(f"{args.out}: {args.out.stat().st_size} bytes, relative error against PyTorch {error:.1e}")
    if not error < 1e-3:
        raise SystemExit("the exported graph does not compute the trained network")
    if args.rounded:
        round_weights(folded, seen[: args.rounding_crops])
        write(folded, images, args.rounded)


if __name__ == "__main__":
    main()
