"""The small quantised models of tests/quantised: one pattern each, an input, and what ONNX Runtime makes of it.

The reference runs with graph optimisation off: every QuantizeLinear rounds and every convolution is float.
"""

import json
import struct

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_graph import INPUT, Graph, quantise, session, smooth_pictures

CASES = {}


def case(shape, text, **quantisation):
    """Registers a function that adds nodes to a graph after its input of `shape` and returns the outputs."""
    def register(build):
        CASES[build.__name__] = (shape, text, quantisation, build)
        return build
    return register


def convolution(name, shape, text, out, kernel, quantisation=None, **attributes):
    """Registers one convolution alone."""
    CASES[name] = (shape, text, quantisation or {}, lambda g: g.conv(INPUT, out, kernel, **attributes))


def register_convolutions():
    small, odd = (8, 5, 6), (12, 7, 5)
    convolution("stem_3x3", (3, 9, 7), "3x3 + ReLU on 3 channels, odd size", 10, 3, act="relu")
    convolution("stem_3x3_stride_2", (3, 11, 9), "the same at stride 2, odd size", 16, 3, stride=2, act="relu")
    convolution("stem_7x7_stride_2", (3, 12, 11), "7x7 + ReLU at stride 2, pad 3", 8, 7, stride=2, act="relu")
    convolution("dense_3x3", small, "3x3 + ReLU", 12, 3, act="relu")
    convolution("dense_3x3_stride_2", small, "3x3 + ReLU at stride 2", 12, 3, stride=2, act="relu")
    convolution("dense_3x3_linear", small, "3x3 without activation", 9, 3)
    convolution("dense_3x3_no_bias", small, "3x3 without bias", 8, 3, bias=False)
    convolution("dense_3x3_valid", small, "3x3 + ReLU without pads", 8, 3, act="relu", pads=[0] * 4)
    convolution("dense_5x5", (5, 6, 5), "5x5 + ReLU, 5 channels", 7, 5, act="relu")
    convolution("pointwise", (16, 5, 4), "1x1 without activation", 16, 1)
    convolution("pointwise_relu", (20, 5, 3), "1x1 + ReLU, channels no multiple of 8", 18, 1, act="relu")
    convolution("pointwise_stride_2", (16, 7, 5), "1x1 at stride 2", 8, 1, stride=2)
    convolution("pointwise_wide", (80, 3, 2), "1x1 from 80 to 24 channels", 24, 1, act="relu")
    for kernel in (3, 5):
        for stride in (1, 2):
            name = f"depthwise_{kernel}x{kernel}" + ("_stride_2" if stride == 2 else "")
            convolution(name, odd, f"depthwise {kernel}x{kernel} + ReLU at stride {stride}", 12, kernel, stride=stride, groups=12, act="relu")
    convolution("depthwise_3x3_linear", (19, 4, 5), "depthwise 3x3 without activation, 19 channels", 19, 3, groups=19)
    convolution("depthwise_twice_the_channels", (6, 5, 4), "6 groups, 12 outputs", 12, 3, groups=6)
    convolution("grouped", small, "3x3 in 2 groups + ReLU", 12, 3, groups=2, act="relu")
    convolution("dilated", small, "3x3 at dilation 2 + ReLU", 8, 3, dilation=2, act="relu")
    convolution("asymmetric_pads", small, "3x3, pads 0 1 2 1; may stay in float", 8, 3, act="relu", pads=[0, 1, 2, 1])
    convolution("asymmetric_pads_stride_2", small, "3x3 at stride 2, pads 0 0 1 1 (TensorFlow's SAME)", 8, 3, stride=2, act="relu", pads=[0, 0, 1, 1])
    convolution("relu_kept", small, "the ReLU has Q/DQ on both sides", 8, 3, {"keep_rectifiers": True}, act="relu")
    convolution("relu_inside", small, "ReLU straight after the convolution, then one pair", 8, 3, {"keep_rectifiers": True, "float_tensors": ["t0"]}, act="relu")
    convolution("clip_kept", small, "Clip(0, 6) with Q/DQ on both sides", 8, 3, {"keep_rectifiers": True}, act="relu6")
    convolution("clip_inside", small, "Clip(0, 6) straight after the convolution", 8, 3, {"keep_rectifiers": True, "float_tensors": ["t0"]}, act="relu6")
    convolution("clip_folded", small, "Clip(0, 6) that the range of the pair replaces", 8, 3, act="relu6")
    convolution("leaky_relu", small, "LeakyReLU with Q/DQ on both sides", 8, 3, act="leaky")
    convolution("leaky_relu_inside", small, "LeakyReLU straight after the convolution", 8, 3, {"float_tensors": ["t0"]}, act="leaky")
    convolution("silu", small, "Sigmoid and Mul, Q/DQ on every tensor", 8, 3, act="silu")
    convolution("silu_inside", small, "Sigmoid and Mul straight after the convolution", 8, 3, {"float_tensors": ["t0", "t1"]}, act="silu")
    convolution("hard_swish_inside", small, "HardSwish straight after the convolution", 8, 3, {"operators": ["Conv", "HardSwish"], "float_tensors": ["t0"]}, act="hard_swish")
    convolution("hard_swish", small, "HardSwish with Q/DQ on both sides", 8, 3, {"operators": ["Conv", "HardSwish"]}, act="hard_swish")
    convolution("signed_activations", small, "s8 activations, symmetric, ReLU between pairs", 8, 3, {"signed": True}, act="relu")
    convolution("per_tensor_weights", small, "one scale for all weights", 8, 3, {"per_tensor": True}, act="relu")
    convolution("unsigned_weights", small, "u8 weights with a zero point; may stay in float", 8, 3, {"unsigned_weights": True, "per_tensor": True})
    convolution("float_output", small, "nothing integer after the convolution", 12, 1, {"float_tensors": ["output"]})
    convolution("qoperator_convolution", small, "QLinearConv between QuantizeLinear and DequantizeLinear", 8, 3, {"qoperator": True}, act="relu")


register_convolutions()
PICTURE = (8, 6, 4)


@case(PICTURE, "residual sum with the input")
def add(g):
    return g.add("Add", INPUT, g.conv(INPUT, 8, 3))


@case(PICTURE, "residual sum of two convolutions, then ReLU")
def add_relu(g):
    return g.add("Relu", g.add("Add", g.conv(INPUT, 12, 3), g.conv(INPUT, 12, 1)))


@case(PICTURE, "joins a convolution with ReLU and one without")
def concat(g):
    return g.add("Concat", g.conv(INPUT, 8, 3, act="relu"), g.conv(INPUT, 5, 1), axis=1)


@case((8, 7, 6), "3x3 at stride 2 with pads, after a convolution")
def max_pool(g):
    return g.add("MaxPool", g.conv(INPUT, 8, 1, act="relu"), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)


@case((8, 6, 6), "2x2 at stride 2 on signed values")
def max_pool_2x2(g):
    return g.add("MaxPool", g.conv(INPUT, 8, 1), kernel_shape=[2, 2], strides=[2, 2])


@case(PICTURE, "2x2 at stride 2")
def average_pool(g):
    return g.add("AveragePool", g.conv(INPUT, 8, 1, act="relu"), kernel_shape=[2, 2], strides=[2, 2])


@case(PICTURE, "3x3 with pads that do not count; may stay in float")
def average_pool_padded(g):
    return g.add("AveragePool", g.conv(INPUT, 8, 1), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)


@case(PICTURE, "pool over the whole picture, then a fully connected layer")
def global_pool_gemm(g):
    return g.gemm(g.add("GlobalAveragePool", g.conv(INPUT, 24, 1, act="relu")), 10)


@case(PICTURE, "AveragePool over the whole picture and a fully connected layer with float output", float_tensors=["output"])
def pool_gemm_float(g):
    return g.gemm(g.add("AveragePool", g.conv(INPUT, 24, 1, act="relu"), kernel_shape=[6, 4]), 10)


@case((8, 3, 4), "nearest, twice the size")
def resize_nearest(g):
    return g.resize(g.conv(INPUT, 8, 1, act="relu"))


@case((8, 3, 4), "bilinear at half pixels, twice the size")
def resize_linear(g):
    return g.resize(g.conv(INPUT, 8, 1), "linear")


@case(PICTURE, "channel gate [1, C, 1, 1] times picture: pool, 1x1, ReLU, 1x1, Sigmoid, Mul")
def gate(g):
    x = g.conv(INPUT, 16, 1, act="relu")
    y = g.conv(g.add("GlobalAveragePool", x), 4, 1, act="relu")
    return g.add("Mul", x, g.add("Sigmoid", g.conv(y, 16, 1)))


@case(PICTURE, "pictures to rows, then MatMul with constant weights")
def matmul(g):
    return g.matmul(g.add("Flatten", g.conv(INPUT, 4, 1, act="relu")), 10)


@case((8, 5, 4), "MatMul of [1, HW, C] with [C, D]")
def matmul_tokens(g):
    rows = g.add("Transpose", g.reshape(g.conv(INPUT, 12, 1), 0, 12, -1), perm=[0, 2, 1])
    return g.matmul(rows, 10)


@case(PICTURE, "Flatten between a convolution and a fully connected layer")
def flatten_gemm(g):
    return g.gemm(g.conv(INPUT, 4, 3, stride=2, act="relu"), 10)


@case(PICTURE, "channel shuffle between convolutions: Reshape, Transpose, Reshape")
def channel_shuffle(g):
    return g.conv(shuffle(g, g.conv(INPUT, 12, 1, act="relu")), 8, 1)


@case(PICTURE, "Split, one half through a convolution, Concat, shuffle")
def shuffle_unit(g):
    kept, moved = g.halves(g.conv(INPUT, 16, 1, act="relu"))
    return shuffle(g, g.add("Concat", kept, g.conv(moved, 8, 1, act="relu"), axis=1))


@case((8, 4, 6), "rows of a detector's head: Reshape and Transpose of a convolution, float", float_tensors=["t0"], operators=["Conv"])
def head_rows(g):
    y = g.conv(INPUT, 10, 1)
    return g.add("Transpose", g.reshape(y, 0, 10, -1), perm=[0, 2, 1])


@case(PICTURE, "MobileNetV2's block: 1x1 + Clip, depthwise + Clip, 1x1, sum")
def inverted_residual(g):
    y = g.conv(g.conv(INPUT, 24, 1, act="relu6"), 24, 3, groups=24, act="relu6")
    return g.add("Add", INPUT, g.conv(y, 8, 1))


@case(PICTURE, "ResNet's block at s8 activations", signed=True)
def signed_residual(g):
    y = g.conv(g.conv(INPUT, 8, 3, act="relu"), 8, 3)
    return g.add("Relu", g.add("Add", y, INPUT))


@case(PICTURE, "one convolution read by two, two outputs of different size", float_tensors=["output.1"])
def two_outputs(g):
    x = g.conv(INPUT, 8, 3, act="relu")
    return [g.conv(x, 6, 1), g.conv(x, 4, 3, stride=2)]


@case(PICTURE, "PAN's step: Resize, Concat, 1x1 + LeakyReLU")
def pyramid_step(g):
    small = g.conv(INPUT, 8, 3, stride=2, act="leaky")
    return g.conv(g.add("Concat", g.resize(small), g.conv(INPUT, 8, 1), axis=1), 8, 1, act="leaky")


@case(PICTURE, "QLinearConv and com.microsoft's QLinearAdd; may stay in float", qoperator=True)
def qoperator_add(g):
    return g.add("Add", INPUT, g.conv(INPUT, 8, 3))


def shuffle(g, x):
    _, channels, height, width = g.shape(x)
    y = g.add("Transpose", g.reshape(x, 0, 2, channels // 2, height, width), perm=[0, 2, 1, 3, 4])
    return g.reshape(y, 0, channels, height, width)


def steps(model):
    """The step of each output that a DequantizeLinear makes."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for output in model.graph.output:
        maker = makers[output.name]
        quantised = maker.op_type == "DequantizeLinear"
        yield float(numpy_helper.to_array(weights[maker.input[1]])) if quantised else None


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, "<f4")
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(body), len(body) + values.nbytes]}
        body += values.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def write_tests(folder):
    folder.mkdir(exist_ok=True)
    index = []
    for seed, (name, (shape, text, quantisation, build)) in enumerate(CASES.items()):
        graph = Graph(name, smooth_pictures(16, *shape, seed), seed)
        ends = build(graph)
        float_model = graph.finish(*([ends] if isinstance(ends, str) else ends))
        model = quantise(float_model, graph.values[INPUT], **quantisation)
        onnx.save(model, folder / f"{name}.onnx")
        # Wider than what was calibrated: some values must saturate.
        x = 1.2 * smooth_pictures(1, *shape, 1000 + seed)
        names = [output.name for output in model.graph.output]
        values = dict(zip(names, session(model, optimised=False).run(names, {INPUT: x})))
        for output, expected in zip(names, session(float_model).run(names, {INPUT: x})):
            cosine = float((values[output] * expected).sum() / np.linalg.norm(values[output]) / np.linalg.norm(expected))
            if not cosine > 0.98:
                raise SystemExit(f"{name}: {output} has cosine {cosine:.3f} to float: the quantised model is broken")
        write_safetensors(folder / f"{name}.safetensors", {INPUT: x} | values)
        index.append({
            "name": name, "pattern": text, "format": "QOperator" if quantisation.get("qoperator") else "QDQ",
            "operators": sorted({node.op_type for node in model.graph.node} - {"QuantizeLinear", "DequantizeLinear"}),
            "input": list(x.shape),
            "outputs": [{"name": output, "shape": list(values[output].shape), "step": step} for output, step in zip(names, steps(model))],
        })
    lines = ",\n".join("  " + json.dumps(entry) for entry in index)
    (folder / "index.json").write_text(f"[\n{lines}\n]\n")
    total = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{folder}: {len(index)} models, {total / 1000:.0f} kB")
