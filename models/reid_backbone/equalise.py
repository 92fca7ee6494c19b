"""Cross-layer equalisation (Nagel et al., ICCV 2019) of a folded network, so that int8 loses little.

One scale serves all channels of an activation, and MobileNetV2's channels differ by factors of a hundred: the small
ones would keep two or three levels, and the weights that amplify them again would crowd out their neighbours. A channel
scaled up where it is made and down again where it is used computes the same number.
"""

from __future__ import annotations

import torch
from torch import nn

LARGEST_SCALE = 64.0
# ReLU6 clips at 6 whatever the scale, so a channel is scaled up only as far as twice what was seen still fits.
RELU6_TARGET = 6 / 2


def scale_outputs(conv: nn.Conv2d, scale: torch.Tensor) -> None:
    """Multiplies output channel c by `scale[c]`."""
    conv.weight.data *= scale[:, None, None, None]
    conv.bias.data *= scale


def unscale_inputs(layer: nn.Module, scale: torch.Tensor) -> None:
    """Undoes `scale` in the layer that reads the channels: depthwise, dense, or linear over pooled stripes."""
    if isinstance(layer, nn.Linear):
        # The pooled map is flattened channel by channel, its stripes side by side.
        layer.weight.data /= scale.repeat_interleave(layer.in_features // len(scale))
    elif layer.groups == 1:
        layer.weight.data /= scale[None, :, None, None]
    else:
        layer.weight.data /= scale[:, None, None, None]


def convolutions(block: nn.Module) -> list[nn.Conv2d]:
    """A folded block's convolutions in order."""
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]


def channel_peaks(layers: list[nn.Module], network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Largest absolute output of every channel of every layer over `images [n, 3, H, W]`, each `[C]`."""
    peaks = [torch.zeros(1)] * len(layers)

    def note(index: int, output: torch.Tensor) -> None:
        peaks[index] = torch.maximum(peaks[index], output.abs().amax(dim=(0, 2, 3)))

    hooks = [layer.register_forward_hook(lambda _m, _i, out, at=at: note(at, out)) for at, layer in enumerate(layers)]
    for part in images.split(8):
        network(part)
    for hook in hooks:
        hook.remove()
    return peaks


@torch.no_grad()
def equalise(network: nn.Module, images: torch.Tensor) -> None:
    """Equalises `export.Folded` in place with the ranges seen on `images [n, 3, H, W]`."""
    equalise_clipped(network, images)
    equalise_streams(network, images)


def equalise_clipped(network: nn.Module, images: torch.Tensor) -> None:
    """Scales what a ReLU6 follows, and undoes it in the next convolution."""
    chain = [conv for block in network.features for conv in convolutions(block)]
    # In every block all but the last, linear, convolution are clipped; the stem is clipped too.
    clipped = [True] + [conv is not convolutions(block)[-1] for block in network.features[1:] for conv in convolutions(block)]
    pairs = [(made, used) for made, used, has_clip in zip(chain, chain[1:], clipped, strict=False) if has_clip]
    peaks = channel_peaks([made for made, _ in pairs], network, images)
    for (made, used), peak in zip(pairs, peaks, strict=True):
        scale = (RELU6_TARGET / peak.clamp(min=1e-6)).clamp(1, LARGEST_SCALE)
        scale_outputs(made, scale)
        unscale_inputs(used, scale)


def equalise_streams(network: nn.Module, images: torch.Tensor) -> None:
    """Scales the linear maps between blocks; those that a residual sum joins share their scale."""
    blocks = list(network.features[1:])
    streams: list[list[int]] = []
    for index, block in enumerate(blocks):
        if block.residual:
            streams[-1].append(index)
        else:
            streams.append([index])
    peaks = channel_peaks(blocks, network, images)
    for stream in streams:
        peak = torch.stack([peaks[index] for index in stream]).amax(dim=0)
        scale = (peak.max() / peak.clamp(min=1e-6)).clamp(1, LARGEST_SCALE)
        for index in stream:
            scale_outputs(convolutions(blocks[index])[-1], scale)
            following = convolutions(blocks[index + 1])[0] if index + 1 < len(blocks) else network.head
            unscale_inputs(following, scale)
