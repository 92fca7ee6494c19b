"""Rounds the weights of a folded network to the int8 grid so that its outputs, not its weights, change least.

Plain rounding costs the 1x1 convolutions most. There each column's rounding error is made up for by the columns not
yet rounded (GPTQ, Frantar et al., ICLR 2023), given how the inputs vary together on training crops. What then is left
of a shift in an output channel's mean goes into its bias. The weights stay float numbers, but on the grid that the
quantiser finds again from each channel's largest one.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

LEVELS = 127
DAMPING = 0.01
SAMPLED_POSITIONS = 4096


def grid_of(weight: torch.Tensor) -> torch.Tensor:
    """Step of every output channel of `[O, I]`, `[O, 1]`."""
    return weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LEVELS


def round_plainly(weight: torch.Tensor) -> torch.Tensor:
    """Each weight of `[O, I]` to its nearest grid point."""
    step = grid_of(weight)
    return torch.round(weight / step) * step


def round_compensating(weight: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """GPTQ: rounds `[O, I]` column by column for inputs `[n, I]`, the most used column first.

    The largest weight of a channel stays as it is: the quantiser takes the grid from it.
    """
    moment = inputs.T @ inputs / len(inputs)
    order = moment.diagonal().argsort(descending=True)
    moment = moment[order][:, order].double()
    moment += DAMPING * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(moment)), upper=True)
    step = grid_of(weight).double()
    original = weight[:, order].double()
    largest = original.abs().argmax(dim=1)
    left, rounded = original.clone(), torch.empty_like(original)
    for column in range(left.shape[1]):
        point = (left[:, column] / step[:, 0]).round().clamp(-LEVELS, LEVELS) * step[:, 0]
        point = torch.where(largest == column, original[:, column], point)
        rounded[:, column] = point
        error = (left[:, column] - point) / inverse[column, column]
        left[:, column + 1 :] -= torch.outer(error, inverse[column, column + 1 :])
    return rounded[:, order.argsort()].to(weight.dtype)


def rounded_weight(layer: nn.Conv2d | nn.Linear, inputs: torch.Tensor) -> torch.Tensor:
    """The layer's weight on its grid, chosen for the layer's inputs `[n, C, h, w]` or `[n, C]`."""
    flat = layer.weight.flatten(1)
    if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
        return round_plainly(flat).view_as(layer.weight)
    rows = inputs.movedim(1, -1).flatten(0, -2)
    rows = rows[:: max(1, len(rows) // SAMPLED_POSITIONS)]
    return round_compensating(flat, rows).view_as(layer.weight)


def mean_shift(layer: nn.Conv2d | nn.Linear, inputs: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """How far a change of the weight moves each output channel's mean, `[O]`."""
    if isinstance(layer, nn.Linear):
        return (inputs @ change.T).mean(dim=0)
    moved = F.conv2d(inputs, change, None, layer.stride, layer.padding, layer.dilation, layer.groups)
    return moved.mean(dim=(0, 2, 3))


@torch.no_grad()
def round_weights(network: nn.Module, images: torch.Tensor) -> None:
    """Puts every convolution and linear layer of `network` on the int8 grid, in place, for `images [n, 3, H, W]`.

    The inputs a layer is rounded for are those after its predecessors have been rounded.
    """

    def round_layer(layer: nn.Conv2d | nn.Linear, arguments: tuple[torch.Tensor]) -> None:
        (inputs,) = arguments
        rounded = rounded_weight(layer, inputs)
        layer.bias -= mean_shift(layer, inputs, rounded - layer.weight)
        layer.weight.copy_(rounded)

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(round_layer) for layer in layers]
    network(images)
    for hook in hooks:
        hook.remove()
