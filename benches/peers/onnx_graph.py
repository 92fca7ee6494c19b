"""Builds ONNX graphs with random weights of sane statistics, and quantises them.

A graph is built while a batch of sample pictures runs through it: every convolution gets the scale and the bias that a
batch norm folded into it would have left, so that activations neither die nor explode, whatever the depth.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "images", "output"

# The quantiser advises a preparation that these graphs do not need.
logging.getLogger().setLevel(logging.ERROR)


def session(model, optimised=True):
    """One thread; without `optimised` every node runs as it is written, so that QuantizeLinear rounds where it stands."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def smooth_pictures(count, channels, height, width, seed):
    """Random fields `[count, C, H, W]` whose spectrum falls with frequency as in photographs; mean 0, deviation 1."""
    generator = np.random.default_rng(seed)
    noise = np.fft.fft2(generator.standard_normal((count, channels, height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    fields = np.fft.ifft2(noise / (frequency + 1 / max(height, width))).real
    fields -= fields.mean((1, 2, 3), keepdims=True)
    fields /= fields.std((1, 2, 3), keepdims=True)
    return fields.astype(np.float32)


def standalone(graph):
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nformer-edge")


class Graph:
    """Nodes, weights, and the values of every tensor for the sample batch.

    `centre` is the mean of what a rectifier gets. With 0 it cuts half, and a deep random network amplifies every error
    from layer to layer; trained ones do not.
    """

    def __init__(self, name, sample, seed, centre=0.0):
        self.name, self.nodes, self.weights, self.centre = name, [], {}, centre
        self.random = np.random.default_rng(seed)
        self.values = {INPUT: sample}

    def shape(self, name):
        return self.values[name].shape

    def _evaluate(self, node):
        names = [name for name in node.input if name]
        values = {name: self.values[name] for name in names}
        kind = lambda value: helper.np_dtype_to_tensor_dtype(value.dtype)
        inputs = [helper.make_tensor_value_info(name, kind(value), value.shape) for name, value in values.items()]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output]
        model = standalone(helper.make_graph([node], "one", inputs, outputs))
        return session(model).run(None, values)

    def constant(self, values, name=None):
        name = name or f"w{len(self.weights)}"
        self.weights[name] = self.values[name] = np.asarray(values)
        return name

    def add(self, operator, *inputs, outputs=1, **attributes):
        """Appends a node; returns the name of its output, or a list of names."""
        at = len(self.nodes)
        names = [f"t{at}"] if outputs == 1 else [f"t{at}.{i}" for i in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=f"{operator}{at}", **attributes)
        self.nodes.append(node)
        self.values.update(zip(names, self._evaluate(node)))
        return names[0] if outputs == 1 else names

    def _folded_norm(self, values, weights, gain=1.0, centre=0.0):
        """Scales and bias per output channel: what a trained batch norm after this layer would have become.

        Outputs get deviation `gain` and mean `centre`, with a spread among channels.
        """
        channels = len(weights)
        axes = (0, *range(2, values.ndim))
        mean = values.mean(axes)
        # A few numbers a channel say nothing of its spread: then the layer's own is taken.
        enough = values.size // channels >= 64
        deviation = values.std(axes) if enough else np.full(channels, (values - mean.reshape(1, -1, *[1] * (values.ndim - 2))).std())
        scale = gain * self.random.uniform(0.6, 1.4, channels) / np.maximum(deviation, 0.05)
        bias = self.random.normal(centre, 0.3 * gain, channels) - scale * mean
        return (weights * scale.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.float32), bias.astype(np.float32)

    def conv_weights(self, x, out, kernel, groups=1, gain=1.0, centre=0.0, **attributes):
        """Names of weights and bias for a convolution that reads `x`."""
        shape = (out, self.shape(x)[1] // groups, kernel, kernel)
        weights = (self.random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        self.values["probe"] = weights
        probe = helper.make_node("Conv", [x, "probe"], ["out"], kernel_shape=[kernel] * 2, group=groups, **attributes)
        weights, bias = self._folded_norm(self._evaluate(probe)[0], weights, gain, centre)
        return self.constant(weights), self.constant(bias)

    def conv(self, x, out, kernel, stride=1, groups=1, act=None, pads=None, dilation=1, weights=None, bias=True, gain=1.0):
        """A convolution that keeps the size (but for the stride) unless `pads` says otherwise, and its activation."""
        pads = [dilation * (kernel // 2)] * 4 if pads is None else pads
        attributes = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": pads}
        centre = self.centre if act else 0.0
        weights = weights or self.conv_weights(x, out, kernel, groups, gain, centre, **attributes)
        y = self.add("Conv", x, *weights[:1 + bias], kernel_shape=[kernel] * 2, group=groups, **attributes)
        return self.activation(y, act)

    def activation(self, x, act):
        match act:
            case None:
                return x
            case "relu":
                return self.add("Relu", x)
            case "relu6":
                return self.add("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))
            case "leaky":
                return self.add("LeakyRelu", x, alpha=0.1)
            case "silu":
                return self.add("Mul", x, self.add("Sigmoid", x))
            case "hard_swish":
                return self.add("HardSwish", x)

    def gemm(self, x, out):
        """Rows `[n, in]` to rows `[n, out]`; rows of pictures are flattened first."""
        x = x if self.values[x].ndim == 2 else self.add("Flatten", x)
        inputs = self.shape(x)[1]
        weights = (self.random.standard_normal((out, inputs)) / np.sqrt(inputs)).astype(np.float32)
        weights, bias = self._folded_norm(self.values[x] @ weights.T, weights)
        return self.add("Gemm", x, self.constant(weights), self.constant(bias), transB=1)

    def matmul(self, x, out):
        inputs = self.shape(x)[-1]
        weights = (self.random.standard_normal((inputs, out)) / np.sqrt(inputs)).astype(np.float32)
        return self.add("MatMul", x, self.constant(weights))

    def resize(self, x, mode="nearest", factor=2):
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        if mode == "nearest":
            return self.add("Resize", x, "", scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        return self.add("Resize", x, "", scales, mode=mode, coordinate_transformation_mode="half_pixel")

    def halves(self, x):
        """The first and the second half of the channels."""
        half = self.shape(x)[1] // 2
        return self.add("Split", x, self.constant(np.array([half, half], np.int64)), outputs=2, axis=1)

    def reshape(self, x, *dims):
        return self.add("Reshape", x, self.constant(np.array(dims, np.int64)))

    def finish(self, *ends):
        """The model, with a fixed batch of one, and outputs named `output` or `output.0` and on."""
        names = [OUTPUT] if len(ends) == 1 else [f"{OUTPUT}.{i}" for i in range(len(ends))]
        renamed = dict(zip(ends, names, strict=True))
        for node in self.nodes:
            for field in (node.input, node.output):
                field[:] = [renamed.get(name, name) for name in field]
        info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *shape[1:]])
        used = {name for node in self.nodes for name in node.input}
        weights = [numpy_helper.from_array(values, name) for name, values in self.weights.items() if name in used]
        outputs = [info(new, self.shape(old)) for old, new in renamed.items()]
        graph = helper.make_graph(self.nodes, self.name, [info(INPUT, self.shape(INPUT))], outputs, weights)
        model = standalone(graph)
        onnx.checker.check_model(model, full_check=True)
        return model


def cosine(left, right):
    """Of two lists of outputs: the smallest."""
    pairs = zip((a.ravel().astype(np.float64) for a in left), (b.ravel().astype(np.float64) for b in right), strict=True)
    return min(float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30)) for a, b in pairs)


def macs(model):
    """Multiplications of all convolutions and fully connected layers."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in (*inferred.value_info, *inferred.output)}
    weights = {tensor.name: tensor.dims for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "Gemm"):
            total += np.prod(shapes[node.output[0]]) * np.prod(weights[node.input[1]]) // shapes[node.output[0]][1]
    return int(total)


def heads(model):
    """What follows the last convolutions: the nodes, and the tensors that the convolutions hand them."""
    makers = {name: node for node in model.graph.node for name in node.output}
    nodes, tensors, open_ = set(), set(), [output.name for output in model.graph.output]
    while open_:
        name = open_.pop()
        node = makers[name]
        if node.op_type == "Conv":
            tensors.add(name)
        elif node.name not in nodes:
            nodes.add(node.name)
            open_ += [source for source in node.input if source in makers]
    return nodes, tensors


class _Samples(CalibrationDataReader):
    def __init__(self, name, pictures):
        self._inputs = iter([{name: picture[None]} for picture in pictures])

    def get_next(self):
        return next(self._inputs, None)


def quantise(model, pictures, qoperator=False, signed=False, per_tensor=False, keep_rectifiers=False,
             unsigned_weights=False, operators=None, float_nodes=(), float_tensors=()):
    """Static int8 as ONNX Runtime does it: u8 activations and symmetric s8 weights per channel unless told otherwise.

    `float_nodes` stay as they are. `float_tensors` lose their Q/DQ pair again: outputs that stay float, and tensors
    between a convolution and its activation.
    """
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, before)
        quantize_static(
            str(before), str(after), _Samples(model.graph.input[0].name, pictures),
            quant_format=QuantFormat.QOperator if qoperator else QuantFormat.QDQ,
            per_channel=not per_tensor,
            activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            weight_type=QuantType.QUInt8 if unsigned_weights else QuantType.QInt8,
            op_types_to_quantize=operators,
            nodes_to_exclude=list(float_nodes),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "WeightSymmetric": not unsigned_weights,
                "ActivationSymmetric": signed,
                "QDQKeepRemovableActivations": keep_rectifiers,
            },
        )
        made = onnx.load(after)
    for name in float_tensors:
        drop_pair(made.graph, name)
    return tidied(made)


def drop_pair(graph, name):
    """Takes the Q/DQ pair after tensor `name` out; the name of a graph output stays the output's."""
    makers = {output: node for node in graph.node for output in node.output}
    if name in makers and makers[name].op_type == "DequantizeLinear":
        dequantize = makers[name]
        quantize = makers[dequantize.input[0]]
        makers[quantize.input[0]].output[0] = name
        others = [node for node in graph.node if quantize.input[0] in node.input and node is not quantize]
        for node in others:
            node.input[:] = [name if i == quantize.input[0] else i for i in node.input]
    else:
        quantize = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == name)
        dequantize = next(node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] == quantize.output[0])
        for node in graph.node:
            node.input[:] = [name if i == dequantize.output[0] else i for i in node.input]
    graph.node.remove(quantize)
    graph.node.remove(dequantize)


def tidied(model):
    """Leaves in the file what the graph needs: no unused tensors, no shapes in between."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    domains = {node.domain for node in graph.node} | {""}
    opsets = [opset for opset in model.opset_import if opset.domain in domains]
    del graph.initializer[:], graph.value_info[:], model.opset_import[:]
    graph.initializer.extend(kept)
    model.opset_import.extend(opsets)
    onnx.checker.check_model(model)
    return model


def float_twin(model):
    """The float network inside a QDQ file: weights dequantised, Q/DQ pairs of activations taken out.

    Where a pair has zero point 0 after a convolution, a sum or a product, the quantiser had folded the rectifier into the
    pair's range: a Clip to that range takes the pair's place, so that the twin does the same work as the original did.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    outputs = {output.name for output in graph.output}
    renamed, nodes, folded = {}, [], []
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            continue
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            values, scale, zero = (weights[name].astype(np.float32) for name in node.input)
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1) if scale.ndim else 0
            broadcast = [-1 if i == axis and scale.size > 1 else 1 for i in range(values.ndim)]
            if scale.size > 1 or values.ndim:
                scale, zero = scale.reshape(broadcast), zero.reshape(broadcast)
            folded.append(numpy_helper.from_array((values - zero) * scale, node.output[0]))
        elif node.op_type == "DequantizeLinear":
            quantize = makers[node.input[0]]
            source = renamed.get(quantize.input[0], quantize.input[0])
            maker = makers.get(quantize.input[0])
            scale, zero = weights[node.input[1]], weights[node.input[2]]
            rectified = zero.dtype == np.uint8 and zero == 0 and maker is not None and maker.op_type in ("Conv", "Add", "Mul", "Gemm")
            if rectified:
                bounds = [numpy_helper.from_array(np.float32(bound), f"{node.output[0]}.{end}") for end, bound in (("low", 0), ("high", 255 * scale))]
                folded.extend(bounds)
                nodes.append(helper.make_node("Clip", [source, *(bound.name for bound in bounds)], [node.output[0]]))
            elif node.output[0] in outputs:
                nodes.append(helper.make_node("Identity", [source], [node.output[0]]))
            else:
                renamed[node.output[0]] = source
        else:
            node.input[:] = [renamed.get(name, name) for name in node.input]
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(folded)
    return tidied(model)
