"""Makes a checkpoint of a shipped int8 file, to train on from there (`train.py --init`).

The file holds no batch norms: they were folded into the weights. They are put back with the statistics of training
crops, so that the network computes what the file's weights say, and a training step sees the scale it expects.

    python reopen.py --shared "$NFORMER_EDGE_SHARED" --model mobilenetv2_reid_int8.onnx --out out/shipped.pt
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from data import DEFAULT_SHARED, normalise, random_train_pictures
from model import EMBEDDING_WIDTH, LAST_DOWNSAMPLING_BLOCK, ReidNet

# Mean length of an output channel's weights, about as in a network whose channels were not equalised: a step of the
# optimiser has one size for all.
DENSE_NORM, DEPTHWISE_NORM = 1.0, 0.3


def shape(layers: list[onnx.NodeProto], weights: list[torch.Tensor], size: tuple[int, int]) -> dict[str, int]:
    """The constructor's arguments of the `ReidNet` that has these layers."""
    *convolutions, head = weights
    # A stem, two convolutions of the first block, three of every other.
    blocks = len(convolutions) // 3
    depthwise = layers[3 * LAST_DOWNSAMPLING_BLOCK - 2]
    stride = next(attribute.ints[0] for attribute in depthwise.attribute if attribute.name == "strides")
    stripes = head.shape[1] // convolutions[-1].shape[0]
    return {"height": size[0], "width": size[1], "last_stride": stride, "stripes": stripes, "blocks": blocks}


def dequantised(graph: onnx.GraphProto) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Float weight and bias of every convolution and of the head, in order, of a QDQ file."""
    stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    values: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            integers, scale, zero = (stored[name] for name in node.input)
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            if scale.ndim:
                shape = [-1 if at == axis else 1 for at in range(integers.ndim)]
                scale, zero = scale.reshape(shape), zero.reshape(shape)
            values[node.output[0]] = (integers.astype(np.float32) - zero) * scale
    return [tuple(torch.from_numpy(values[name]) for name in node.input[1:3]) for node in layers_of(graph)]


def layers_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Its convolutions and its head, in order."""
    return [node for node in graph.node if node.op_type in ("Conv", "Gemm")]


def fill(model: ReidNet, layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Puts the weights into `model`; its batch norms add the biases and give them their length back."""
    *convolutions, (weight, bias) = layers
    found = [module for module in model.features.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in model.features.modules() if isinstance(module, nn.BatchNorm2d)]
    if len(convolutions) != len(found) or weight.shape != model.project.weight.shape:
        raise SystemExit(f"{len(convolutions)} convolutions and a head {tuple(weight.shape)}: the file is another network")
    for conv, norm, (kernel, shift) in zip(found, norms, convolutions, strict=True):
        gain = kernel.flatten(1).norm(dim=1).mean() / (DENSE_NORM if conv.groups == 1 else DEPTHWISE_NORM)
        conv.weight.data.copy_(kernel / gain)
        norm.weight.data.fill_(gain * math.sqrt(1 + norm.eps))
        norm.bias.data.copy_(shift)
    # The linear layer at the scale it starts training with, which is the one the triplet loss is used to.
    gain = weight.std() / math.sqrt(2 / EMBEDDING_WIDTH)
    model.project.weight.data.copy_(weight / gain)
    model.neck.weight.data.fill_(gain * math.sqrt(1 + model.neck.eps))
    model.neck.running_mean.copy_(-bias / gain)


@torch.no_grad()
def restore_statistics(model: ReidNet, images: torch.Tensor) -> None:
    """Gives every batch norm the mean and variance of its inputs over `images [n, 3, H, W]`; what is computed stays.

    The neck keeps its mean: its bias is not trained and stays zero.
    """

    def measure(norm: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        inputs = arguments[0].movedim(1, -1).flatten(0, -2)
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        norm.running_var.copy_(inputs.var(dim=0))
        norm.weight.copy_(gain * torch.sqrt(norm.running_var + norm.eps))
        if norm is not model.neck:
            mean = inputs.mean(dim=0)
            norm.bias += gain * (mean - norm.running_mean)
            norm.running_mean.copy_(mean)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    model(images)
    for hook in hooks:
        hook.remove()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--model", type=Path, required=True, help="int8 file of quantize.py")
    parser.add_argument("--crops", type=int, default=256, help="training crops the statistics are taken from")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    graph = onnx.load(str(args.model)).graph
    layers = dequantised(graph)
    size = tuple(axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[2:])
    model = ReidNet(**shape(layers_of(graph), [weight for weight, _ in layers], size)).eval()
    fill(model, layers)
    images = torch.from_numpy(normalise(random_train_pictures(args.shared, args.crops, *size, args.seed)))
    with torch.no_grad():
        before = model(images[:8])
    restore_statistics(model, images)
    with torch.no_grad():
        after = model(images[:8])
    print(f"with statistics: relative change {(after - before).abs().max() / before.abs().max():.1e}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"config": model.config(), "weights": model.state_dict()}, args.out)


if __name__ == "__main__":
    main()
