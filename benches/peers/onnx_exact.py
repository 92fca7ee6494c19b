"""A QDQ graph computed in float64: what the file means, before any engine rounds a sum. Slow; for checking."""

import numpy as np
import onnx
from onnx import numpy_helper


def along(values, axis, rank):
    """Scales or zero points so that they repeat over all axes but `axis`."""
    values = np.asarray(values, np.float64)
    return values.reshape([-1 if at == axis % rank else 1 for at in range(rank)]) if values.size > 1 else values.reshape(())


def quantise(node, x, scale, zero_point):
    axis = node.get("axis", 1)
    limits = np.iinfo(zero_point.dtype)
    steps = np.rint(x / along(scale, axis, x.ndim)) + along(zero_point, axis, x.ndim)
    return np.clip(steps, limits.min, limits.max).astype(zero_point.dtype)


def dequantise(node, x, scale, zero_point=np.zeros(1)):
    axis = node.get("axis", 1)
    return (x.astype(np.float64) - along(zero_point, axis, x.ndim)) * along(scale, axis, x.ndim)


def convolve(node, x, weights, bias=None):
    """Sums over the taps, so that depthwise and dense need no case of their own."""
    groups, (outputs, inputs, height, width) = node.get("group", 1), weights.shape
    top, left, bottom, right = node.get("pads", [0] * 4)
    (down, across), (tall, wide) = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    x = np.pad(x[0], ((0, 0), (top, bottom), (left, right)))
    rows = (x.shape[1] - tall * (height - 1) - 1) // down + 1
    columns = (x.shape[2] - wide * (width - 1) - 1) // across + 1
    total = np.zeros((groups, outputs // groups, rows * columns))
    for row in range(height):
        for column in range(width):
            part = x[:, row * tall :, column * wide :][:, ::down, ::across][:, :rows, :columns]
            total += weights[:, :, row, column].reshape(groups, -1, inputs) @ part.reshape(groups, inputs, -1)
    total = total.reshape(1, outputs, rows, columns)
    return total if bias is None else total + bias[:, None, None]


def average(node, x):
    height, width = node["kernel_shape"]
    down, across = node.get("strides", [1, 1])
    if any(node.get("pads", [])):
        raise ValueError("AveragePool with padding")
    windows = np.lib.stride_tricks.sliding_window_view(x, (height, width), (2, 3))[:, :, ::down, ::across]
    return windows.mean((-2, -1))


def product(node, a, b, c=0.0):
    if node.get("transA", 0) or node.get("alpha", 1) != 1 or node.get("beta", 1) != 1:
        raise ValueError("Gemm with factors or a transposed left side")
    return a @ (b.T if node.get("transB", 0) else b) + c


OPERATORS = {
    "QuantizeLinear": quantise,
    "DequantizeLinear": dequantise,
    "Conv": convolve,
    "Gemm": product,
    "Add": lambda node, a, b: a + b,
    "Relu": lambda node, x: np.maximum(x, 0),
    "Clip": lambda node, x, low, high: np.clip(x, low, high),
    "AveragePool": average,
    "GlobalAveragePool": lambda node, x: x.mean((2, 3), keepdims=True),
    "Flatten": lambda node, x: x.reshape(len(x), -1),
}


class Exact:
    """One graph of the operators above, which are those of the shipped backbone."""

    def __init__(self, path):
        self.graph = onnx.load(path).graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        unknown = {node.op_type for node in self.graph.node} - set(OPERATORS)
        if unknown:
            raise ValueError(f"no definition in float64 of {sorted(unknown)}")

    def run(self, x):
        """The outputs for one input, flat."""
        values = {**self.constants, self.graph.input[0].name: np.asarray(x, np.float64)}
        for node in self.graph.node:
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            values[node.output[0]] = OPERATORS[node.op_type](attributes, *(values[name] for name in node.input if name))
        return [values[output.name].ravel() for output in self.graph.output]
