"""Reading a TensorFlow.js graph model, and evaluating it with numpy alone.

The evaluation is slow and literal on purpose: it is the independent witness that `export.py` compares
the ONNX file against, so it shares no code with the conversion but the reader of the weights.
"""

import json
from pathlib import Path

import numpy as np

DTYPES = {"float32": np.float32, "int32": np.int32}


class GraphModel:
    def __init__(self, path):
        path = Path(path)
        model = json.loads(path.read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        self.constants = {}
        for group in model["weightsManifest"]:
            raw = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            at = 0
            for weight in group["weights"]:
                stored = weight.get("quantization", {}).get("dtype", weight["dtype"])
                stored = np.dtype(stored)
                count = int(np.prod(weight["shape"], dtype=np.int64))
                values = np.frombuffer(raw, stored, count, at).astype(DTYPES[weight["dtype"]])
                at += count * stored.itemsize
                self.constants[weight["name"]] = values.reshape(weight["shape"])
            if at != len(raw):
                raise ValueError(f"{path}: weights end at byte {at} of {len(raw)}")

    def inputs_of(self, node):
        return [name for name in node.get("input", []) if not name.startswith("^")]

    def attribute(self, node, name):
        value = node["attr"][name]
        if "list" in value:
            return [int(i) for i in value["list"].get("i", [])]
        if "s" in value:
            import base64

            return base64.b64decode(value["s"]).decode()
        return next(iter(value.values()))


def evaluate(model, feed, wanted):
    """Values of the `wanted` nodes, each TensorFlow operation done as its documentation says."""
    values = {**model.constants, **feed}

    def value(name):
        base, _, port = name.partition(":")
        if base not in values:
            values[base] = compute(model.nodes[base])
        found = values[base]
        return found[int(port or 0)] if isinstance(found, list) else found

    def compute(node):
        op, args = node["op"], [value(name) for name in model.inputs_of(node)]
        if op == "Identity":
            return args[0]
        if op in ("Add", "AddV2"):
            return args[0] + args[1]
        if op == "Pad":
            return np.pad(args[0], args[1])
        if op == "PadV2":
            return np.pad(args[0], args[1], constant_values=args[2])
        if op == "Transpose":
            return np.transpose(args[0], args[1])
        if op == "LeakyRelu":
            return np.where(args[0] > 0, args[0], args[0] * np.float32(node["attr"]["alpha"]["f"]))
        if op == "Sigmoid":
            return 1 / (1 + np.exp(-args[0]))
        if op == "ConcatV2":
            return np.concatenate(args[:-1], axis=int(args[-1]))
        if op == "SplitV":
            return np.split(args[0], np.cumsum(args[1])[:-1], axis=int(args[2]))
        if op == "Reshape":
            return args[0].reshape(args[1])
        if op == "SparseToDense":
            dense = np.full(args[1], args[3])
            for index, element in zip(args[0], args[2]):
                dense[tuple(index)] = element
            return dense
        if op == "Conv2D":
            return conv2d(args[0], args[1], model.attribute(node, "strides")[1])
        if op == "MaxPool":
            return windows(args[0], model.attribute(node, "ksize")[1], model.attribute(node, "strides")[1]).max((3, 4))
        if op == "ResizeBilinear":
            return resize_half_pixel(args[0], args[1])
        raise NotImplementedError(op)

    return [value(name) for name in wanted]


def windows(x, size, stride):
    """[1, h, w, c] -> [1, h', w', size, size, c], without padding."""
    seen = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return seen[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


def conv2d(x, kernel, stride):
    size, _, depth, filters = kernel.shape
    seen = windows(x, size, stride)
    height, width = seen.shape[1:3]
    return (seen.reshape(-1, size * size * depth) @ kernel.reshape(-1, filters)).reshape(1, height, width, filters)


def resize_half_pixel(x, shape):
    for axis, length in zip((1, 2), shape):
        old = x.shape[axis]
        at = np.maximum((np.arange(length) + 0.5) * old / length - 0.5, 0)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, old - 1)
        part = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
        x = x.take(low, axis) * (1 - part) + x.take(high, axis) * part
    return x
