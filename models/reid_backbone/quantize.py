"""Static int8 quantisation (QDQ) of the float ONNX file, calibrated on training crops.

Activations are u8, weights s8 per output channel. The embedding itself stays float: its directions are what
retrieval compares, and dequantising 256 numbers costs nothing.

    python quantize.py --shared "$NFORMER_EDGE_SHARED" --model out/rounded.onnx --out mobilenetv2_reid_int8.onnx
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from data import DEFAULT_SHARED, normalise, random_train_pictures

# The pool is left out: ONNX Runtime would give its output the scale of its input, though averages spread far less.
QUANTISED = ["Conv", "Add", "Clip", "Gemm"]

METHODS = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99, "CalibTensorRangeSymmetric": False}),
    "entropy": (CalibrationMethod.Entropy, {}),
}


class CropReader(CalibrationDataReader):
    """Feeds normalised crops one at a time."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._inputs: Iterator[dict[str, np.ndarray]] = ({"images": normalise(picture[None])} for picture in pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._inputs, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", choices=METHODS, default="percentile")
    parser.add_argument("--crops", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    _, _, height, width = (axis.dim_value for axis in onnx.load(args.model).graph.input[0].type.tensor_type.shape.dim)
    pictures = random_train_pictures(args.shared, args.crops, height, width, args.seed)
    method, extra = METHODS[args.method]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(args.model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(args.out),
            CropReader(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=QUANTISED,
            calibrate_method=method,
            extra_options={"WeightSymmetric": True, **extra},
        )
    tidy(args.out)
    print(f"{args.out}: {args.out.stat().st_size} bytes, sha256 {hashlib.sha256(args.out.read_bytes()).hexdigest()}")


def tidy(path: Path) -> None:
    """Leaves the embedding float, and in the file only what the graph needs."""
    model = onnx.load(path)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers["embedding"]
    if last.op_type == "DequantizeLinear":
        quantize = makers[last.input[0]]
        makers[quantize.input[0]].output[0] = "embedding"
        graph.node.remove(last)
        graph.node.remove(quantize)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    opset = next(opset.version for opset in model.opset_import if not opset.domain)
    del graph.initializer[:], graph.value_info[:], model.opset_import[:]
    graph.initializer.extend(kept)
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


if __name__ == "__main__":
    main()
