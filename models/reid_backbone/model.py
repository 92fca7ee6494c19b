"""MobileNetV2 trunk with a small embedding head for person re-identification."""

from __future__ import annotations

import torch
from torch import nn

EMBEDDING_WIDTH = 256

# expansion, output channels, repeats, stride of the first repeat (Sandler et al., CVPR 2018, table 2)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LAST_DOWNSAMPLING_BLOCK = 14
BLOCKS = sum(repeats for _, _, repeats, _ in STAGES)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A bias-free convolution with `same` padding and its batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; a residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*conv_bn(inputs, hidden, 1), nn.ReLU6()]
        layers += [*conv_bn(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()]
        layers += conv_bn(hidden, outputs, 1)
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def mobilenet_v2_features(last_stride: int, blocks: int) -> tuple[nn.Sequential, int]:
    """`features.0` to `features.BLOCKS` at most, named as in the published checkpoint, and the channels of the last.

    `features.18`, the 1x1 convolution to 1280 channels, is left out: it serves the ImageNet
    classifier and costs a sixth of the multiply-adds at `last_stride` 1.
    """
    features: list[nn.Module] = [nn.Sequential(*conv_bn(3, 32, 3, stride=2), nn.ReLU6())]
    channels = 32
    for expansion, outputs, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            if len(features) == LAST_DOWNSAMPLING_BLOCK:
                stride = last_stride
            features.append(InvertedResidual(channels, outputs, stride, expansion))
            channels = outputs
            if len(features) > blocks:
                return nn.Sequential(*features), channels
    return nn.Sequential(*features), channels


def band_overlap(old: int, new: int) -> torch.Tensor:
    """`[old, new]`: the share of each of `old` equal bands that lies in each of `new` ones; rows sum to 1."""
    # In units in which both kinds of bands end at whole numbers.
    old_edges, new_edges = torch.arange(old + 1) * new, torch.arange(new + 1) * old
    low = torch.maximum(old_edges[:-1, None], new_edges[None, :-1])
    high = torch.minimum(old_edges[1:, None], new_edges[None, 1:])
    return (high - low).clamp(min=0) / new


class ReidNet(nn.Module):
    """Images `[B, 3, H, W]` to embeddings `[B, 256]`, not L2-normalised.

    The last map is averaged over `stripes` horizontal bands, so that the linear layer may weigh
    head, trunk and legs differently, then projected and batch-normalised (the BN-neck of Luo et
    al., 2019: triplet loss before it, identity loss and retrieval after it).
    """

    def __init__(self, height: int, width: int, last_stride: int = 1, stripes: int = 3, blocks: int = BLOCKS) -> None:
        super().__init__()
        total_stride = 16 * last_stride
        map_height, map_width = height // total_stride, width // total_stride
        if height % total_stride or width % total_stride or map_height % stripes:
            raise ValueError(f"{height}x{width} does not divide into stride {total_stride} and {stripes} stripes")
        self.size = (height, width)
        self.last_stride = last_stride
        self.stripes = stripes
        self.features, channels = mobilenet_v2_features(last_stride, blocks)
        self.pool = nn.AvgPool2d((map_height // stripes, map_width))
        self.project = nn.Linear(channels * stripes, EMBEDDING_WIDTH, bias=False)
        self.neck = nn.BatchNorm1d(EMBEDDING_WIDTH)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")

    def config(self) -> dict[str, int]:
        """The constructor's arguments, to be stored beside the weights."""
        height, width = self.size
        blocks = len(self.features) - 1
        return {"height": height, "width": width, "last_stride": self.last_stride, "stripes": self.stripes, "blocks": blocks}

    def load_imagenet(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes `features.0` to `features.17` from an ImageNet state dict; the rest must be absent from it."""
        own = {name: value for name, value in weights.items() if not name.startswith("features.18.")}
        missing, unexpected = self.load_state_dict(own, strict=False)
        foreign = [name for name in missing if name.startswith("features.")]
        if foreign or unexpected:
            raise ValueError(f"not a MobileNetV2 checkpoint: missing {foreign[:3]}, unexpected {unexpected[:3]}")

    def load_other(self, weights: dict[str, torch.Tensor], stripes: int) -> None:
        """Takes over a network of another input size, stride, number of blocks, or number of stripes.

        The linear layer's weights go to the bands that lie where theirs lay; it stays new if the last block is another one.
        """
        taken = {name: value for name, value in weights.items() if name in self.state_dict()}
        old = taken.pop("project.weight").unflatten(1, (-1, stripes))
        missing, _ = self.load_state_dict(taken, strict=False)
        if missing != ["project.weight"]:
            raise ValueError(f"a checkpoint of another network: it lacks {missing[:3]}")
        if old.shape[1] * self.stripes == self.project.in_features:
            self.project.weight.data.copy_((old @ band_overlap(stripes, self.stripes)).flatten(1))

    def tail(self, maps: torch.Tensor, first_block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps that leave block `first_block - 1` -> (before the neck `[B, 256]`, after it `[B, 256]`)."""
        for block in self.features[first_block:]:
            maps = block(maps)
        pooled = self.pool(maps).flatten(1)
        before = self.project(pooled)
        return before, self.neck(before)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.tail(images, 0)[1]
