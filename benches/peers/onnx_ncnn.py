"""ncnn on the float models: conversion by pnnx, a check in a process of its own, and the timed network.

    python onnx_ncnn.py FLOAT.onnx     exits with 0 if ncnn agrees with ONNX Runtime, else says why not
"""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np

from onnx_graph import cosine, session, smooth_pictures


class Ncnn:
    """A network of one input and any number of outputs; float32 throughout, one thread."""

    def __init__(self, stem, x):
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = 1
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        if self.net.load_param(f"{stem}.param") or self.net.load_model(f"{stem}.bin"):
            raise SystemExit("ncnn does not load it")
        self.names = sorted(self.net.output_names(), key=lambda name: int(name.removeprefix("out")))
        self.x = ncnn.Mat(x[0]).clone()

    def run(self):
        extractor = self.net.create_extractor()
        extractor.input("in0", self.x)
        return [extractor.extract(name)[1] for name in self.names]


def convert(path, shape):
    """Makes `.param` and `.bin` beside a float file; nothing, or the reason why ncnn cannot run it."""
    # The program itself: its Python wrapper wants torch, which ONNX files do not need.
    converter = importlib.metadata.distribution("pnnx").locate_file("pnnx/pnnx")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "net.onnx"
        copy.write_bytes(path.read_bytes())
        sizes = f"inputshape=[{','.join(map(str, shape))}]"
        subprocess.run([converter, copy, sizes, "fp16=0"], cwd=folder, capture_output=True, check=False)
        for part in ("param", "bin"):
            made = copy.with_suffix(f".ncnn.{part}")
            if not made.exists():
                return "pnnx does not convert it"
            path.with_suffix(f".{part}").write_bytes(made.read_bytes())
    # In another process: where pnnx lost something, ncnn may well crash.
    checked = subprocess.run([sys.executable, __file__, path], capture_output=True, text=True, check=False)
    if checked.returncode:
        return " ".join(checked.stderr.split()) or "ncnn crashes on what pnnx made of it"
    return None


def main():
    path = Path(sys.argv[1])
    runtime = session(path)
    source = runtime.get_inputs()[0]
    x = smooth_pictures(1, *source.shape[1:], 1)
    found = [np.array(mat) for mat in Ncnn(path.with_suffix(""), x).run()]
    expected = runtime.run(None, {source.name: x})
    if [value.size for value in found] != [value.size for value in expected]:
        raise SystemExit("pnnx lost a part of it: the outputs have other sizes")
    if cosine(found, expected) < 0.9999:
        raise SystemExit("pnnx lost a part of it: the outputs differ")


if __name__ == "__main__":
    main()
