"""Static int8 quantisation: u8 activations, s8 weights per output channel, in QDQ form.

    python quantize.py nanodet_g_416x320.onnx nanodet_g_416x320_int8.onnx --clip vtest.avi

ONNX Runtime measures the ranges; the Q/DQ pairs are placed here and not by its `quantize_static`, for three reasons.
A pair between a convolution and its LeakyRelu costs accuracy and an extra pass: here the LeakyRelu belongs to the
convolution. The inputs and the output of a Concat share one scale, so that joining is copying. And the last
convolutions give float, because nothing integer follows them.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from detectors import Detector
from evaluate import clip_frames

SHARE_SCALE = {"Concat", "MaxPool", "AveragePool", "Resize"}
FLOAT_FROM = {"Reshape", "Transpose", "Sigmoid"}
METHODS = {"minmax": (CalibrationMethod.MinMax, {}), "entropy": (CalibrationMethod.Entropy, {}),
           "percentile": (CalibrationMethod.Percentile, {"percentile": 99.995})}


def variants(picture):
    """A frame as it is, closer, darker and brighter: one sunny car park alone would give ranges too narrow elsewhere."""
    height, width = picture.shape[:2]
    yield picture
    yield picture[height // 4: height * 3 // 4, width // 8: width * 5 // 8]
    yield cv2.convertScaleAbs(picture, alpha=0.5)
    yield cv2.convertScaleAbs(picture, alpha=1.5, beta=20)


class Frames(CalibrationDataReader):
    def __init__(self, images):
        self.images = iter(images)

    def get_next(self):
        images = next(self.images, None)
        return None if images is None else {"images": images}


def measured_ranges(model_path, images, method):
    method, extra = METHODS[method]
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(model_path, None, f"{folder}/observed.onnx", calibrate_method=method, extra_options=extra)
        # A few at a time: the histogram methods keep every activation of what they are given in memory.
        for at in range(0, len(images), 8):
            calibrator.collect_data(Frames(images[at:at + 8]))
        return {name: tuple(float(np.ravel(v)[0]) for v in data.range_value) for name, data in calibrator.compute_data().items()}


def integer_tensors(graph):
    """Every tensor that carries u8 values, with the name of the group whose scale it shares."""
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    tensors, group = {"images"}, {}
    for node in graph.node:
        name, after = node.output[0], readers.get(node.output[0], [])
        if node.op_type in FLOAT_FROM or not after or set(after) & FLOAT_FROM or after == ["LeakyRelu"]:
            continue
        if node.op_type == "Concat" and node.input[0] not in tensors:
            continue
        tensors.add(name)

    def root(name):
        while group.get(name, name) != name:
            name = group[name]
        return name

    for node in graph.node:
        if node.op_type in SHARE_SCALE and node.output[0] in tensors:
            for name in node.input if node.op_type == "Concat" else node.input[:1]:
                group[root(name)] = root(node.output[0])
    return {name: root(name) for name in tensors}


def u8(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(round(-low / scale), 0, 255))


def quantise(model, ranges):
    graph, tensors = model.graph, integer_tensors(model.graph)
    spans = {}
    for name, group in tensors.items():
        low, high = ranges[name]
        before = spans.get(group, (low, high))
        spans[group] = min(low, before[0]), max(high, before[1])
    weights = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
    kept = dict(weights)
    nodes, quantised = [], {}

    def store(name, values):
        kept[name] = np.asarray(values)
        return name

    def pair(name):
        scale, zero = u8(*spans[tensors[name]])
        quantised[name] = scale
        ends = [store(f"{name}.scale", scale), store(f"{name}.zero", zero)]
        nodes.append(helper.make_node("QuantizeLinear", [name, *ends], [f"{name}.u8"], name=f"Quantize:{name}"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.u8", *ends], [f"{name}.dq"], name=f"Dequantize:{name}"))

    def weight_of(node):
        values = weights[node.input[1]]
        scale = np.maximum(np.abs(values).reshape(len(values), -1).max(1), 1e-8) / 127
        scale = scale.astype(np.float32)
        whole = np.clip(np.round(values / scale.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)
        bias_scale = (scale * quantised[node.input[0]]).astype(np.float32)
        bias = np.round(weights[node.input[2]] / bias_scale.astype(np.float64))
        if np.abs(bias).max() >= 2**31:
            raise SystemExit(f"{node.name}: a bias does not fit 32 bits")
        names = []
        for name, integers, its_scale in ((node.input[1], whole, scale), (node.input[2], bias.astype(np.int32), bias_scale)):
            del kept[name]
            ends = [store(f"{name}.int", integers), store(f"{name}.scale", its_scale), store(f"{name}.zero", np.zeros(len(scale), integers.dtype))]
            nodes.append(helper.make_node("DequantizeLinear", ends, [f"{name}.dq"], name=f"Dequantize:{name}", axis=0))
            names.append(f"{name}.dq")
        return names

    pair("images")
    for node in graph.node:
        node = onnx.NodeProto.FromString(node.SerializeToString())
        constants = weight_of(node) if node.op_type == "Conv" else None
        for i, name in enumerate(node.input):
            if name in quantised:
                node.input[i] = f"{name}.dq"
        if constants:
            node.input[1:] = constants
        nodes.append(node)
        if node.output[0] in tensors:
            pair(node.output[0])

    result = helper.make_graph(nodes, graph.name, graph.input, graph.output, [numpy_helper.from_array(v, k) for k, v in kept.items()])
    made = helper.make_model(result, opset_imports=model.opset_import, producer_name=model.producer_name, ir_version=model.ir_version)
    made = onnx.shape_inference.infer_shapes(made, check_type=True, strict_mode=True)
    onnx.checker.check_model(made, full_check=True)
    return made


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--card", type=Path, default=Path(__file__).parent / "card.toml", help="for the input's mean, std and colours")
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--every", type=int, default=40)
    parser.add_argument("--offset", type=int, default=10, help="of the first calibration frame; evaluate.py looks at others")
    parser.add_argument("--method", choices=METHODS, default="minmax")
    arguments = parser.parse_args()

    detector = Detector(arguments.card, arguments.model)
    images = [detector.prepare(v)[0] for f in clip_frames(arguments.clip, arguments.every, arguments.offset) for v in variants(f)]
    ranges = measured_ranges(arguments.model, images, arguments.method)
    # The input's range follows from the card, whatever the calibration frames happen to hold.
    mean, std = (np.array(detector.card["input"][key]) for key in ("mean", "std"))
    ranges["images"] = float((-mean / std).min()), float(((255 - mean) / std).max())
    onnx.save(quantise(onnx.load(arguments.model), ranges), arguments.out)
    print(f"{arguments.out}: {len(images)} calibration pictures, {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
