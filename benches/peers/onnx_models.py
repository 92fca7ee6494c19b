"""Writes the models of the comparison into a folder, or with `--tests` the small ones of tests/quantised.

Each network comes as `NAME.onnx` (quantised) and as its float twin, in ONNX and where it can be converted in ncnn's
form. `models.json` lists them. What is up to date is left alone.

    python onnx_models.py --out ../../target/peers/onnx
    python onnx_models.py --tests ../../tests/quantised
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

import onnx_networks
from onnx_graph import INPUT, float_twin, heads, macs, quantise, smooth_pictures, tidied
from onnx_ncnn import convert
from onnx_tests import write_tests

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SHARED = Path(os.environ.get("NFORMER_EDGE_SHARED", ROOT.parent / "shared"))
SHIPPED = {
    "shipped_backbone": ROOT / "models/reid_backbone/mobilenetv2_reid_int8.onnx",
    "shipped_tiny_backbone": ROOT / "models/reid_backbone_tiny/mobilenetv2_reid_tiny_int8.onnx",
    "shipped_detector": ROOT / "models/person_detector/nanodet_g_416x320_int8.onnx",
}
YOLOX = SHARED / "models/yolox_nano.onnx"

# Other ways to quantise MobileNetV2: its float twin is the same.
VARIANTS = {
    "mobilenet_v2_qoperator": {"qoperator": True},
    "mobilenet_v2_signed": {"signed": True},
    "mobilenet_v2_per_tensor": {"per_tensor": True},
    "mobilenet_v2_clips_kept": {"keep_rectifiers": True},
}


def fingerprint():
    """Of everything that decides what the files hold."""
    digest = hashlib.sha256()
    for path in [*sorted(HERE.glob("onnx_*.py")), *SHIPPED.values(), YOLOX]:
        if path.name not in ("onnx_compare.py", "onnx_evaluate.py"):
            digest.update(path.read_bytes() if path.exists() else b"absent")
    for package in ("numpy", "onnx", "onnxruntime", "ncnn", "pnnx"):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()


class Models:
    """The folder and the list of what is in it."""

    def __init__(self, folder):
        self.folder, self.entries = folder, []

    def store(self, name, int8, twin, pictures="normalised", variant_of=None):
        onnx.save(int8, self.folder / f"{name}.onnx")
        entry = {"name": name, "int8": f"{name}.onnx", "pictures": pictures, "variant_of": variant_of}
        if not variant_of:
            onnx.save(twin, self.folder / f"{name}_float.onnx")
            source = twin.graph.input[0]
            shape = [dim.dim_value for dim in source.type.tensor_type.shape.dim]
            reason = convert(self.folder / f"{name}_float.onnx", shape)
            entry |= {"float": f"{name}_float.onnx", "macs": macs(twin), "input": source.name, "shape": shape, "no_ncnn": reason}
        else:
            base = next(entry for entry in self.entries if entry["name"] == variant_of)
            entry = base | entry
        self.entries.append(entry)


def generated(models):
    for build in (onnx_networks.mobilenet_v2, onnx_networks.resnet_18, onnx_networks.osnet_x025, onnx_networks.nanodet_like):
        graph, ends = build()
        twin, pictures = graph.finish(*ends), graph.values[INPUT]
        nodes, tensors = heads(twin) if len(ends) > 1 else ((), ())
        models.store(graph.name, quantise(twin, pictures, float_nodes=nodes, float_tensors=tensors), twin)
        for name, options in VARIANTS.items():
            if name.startswith(graph.name):
                models.store(name, quantise(twin, pictures, **options), twin, variant_of=graph.name)


def shipped(models):
    # Their float originals are not in the repository: the twin is the quantised file with its weights dequantised and
    # the Q/DQ pairs of its activations taken out.
    for name, path in SHIPPED.items():
        int8 = onnx.load(path)
        models.store(name, int8, float_twin(int8))


def yolox(models):
    if not YOLOX.exists():
        print(f"SKIPPED: no {YOLOX}; the comparison goes without YOLOX-Nano")
        return
    # Scales per channel need opset 13.
    twin = tidied(version_converter.convert_version(onnx.load(YOLOX), 13))
    shape = [dim.dim_value for dim in twin.graph.input[0].type.tensor_type.shape.dim]
    nodes, tensors = heads(twin)
    int8 = quantise(twin, pictures_of("bytes", 8, shape[1:], 5), float_nodes=nodes, float_tensors=tensors)
    models.store("yolox_nano", int8, twin, pictures="bytes")


def pictures_of(kind, count, shape, seed):
    """Random fields in the units a network takes: `normalised`, or `bytes` of 0 to 255."""
    fields = smooth_pictures(count, *shape, seed)
    return np.clip(np.round(fields * 57 + 114), 0, 255).astype(np.float32) if kind == "bytes" else fields


def write_models(folder):
    """The list of models in `folder`, which is made anew where something has changed."""
    index = folder / "models.json"
    key = fingerprint()
    if index.exists():
        held = json.loads(index.read_text())
        if held["key"] == key:
            return held["models"]
    folder.mkdir(parents=True, exist_ok=True)
    models = Models(folder)
    for part in (generated, shipped, yolox):
        part(models)
    index.write_text(json.dumps({"key": key, "models": models.entries}, indent=1))
    return models.entries


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--tests", type=Path, help="folder for the small models")
    what.add_argument("--out", type=Path, help="folder for the models of the comparison")
    args = parser.parse_args()
    if args.tests:
        write_tests(args.tests)
    else:
        for entry in write_models(args.out):
            print(f"{entry['name']:<26} {entry['macs'] / 1e6:8.1f} MMAC  {entry['shape']}  {entry['no_ncnn'] or ''}")


if __name__ == "__main__":
    main()
