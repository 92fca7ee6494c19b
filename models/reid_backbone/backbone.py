"""Runs an ONNX backbone on crops, one at a time as the device does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from data import Crop, load_rgb, normalise


def exact_int8_kernels() -> bool:
    """Whether fused int8 kernels add without saturating here: x86 needs VNNI for that."""
    cpu_info = Path("/proc/cpuinfo")
    return cpu_info.exists() and "vnni" in cpu_info.read_text()


class Backbone:
    """An ONNX file with one image input `[1, 3, H, W]` and one embedding output.

    The graph is fused only where that does not change the numbers; elsewhere every QuantizeLinear and
    DequantizeLinear runs as written, about four times slower.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        if not exact_int8_kernels():
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]

    def embed(self, crops: list[Crop]) -> np.ndarray:
        """Embeddings `[n, D]` float32, as the network gives them."""
        height, width = self.input.shape[2:]
        return self.embed_pictures(load_rgb(crop.path, height, width) for crop in crops)

    def embed_pictures(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """Embeddings `[n, D]` of pictures `[H, W, 3]`, u8 RGB, that have the network's size already."""
        return np.concatenate([self.session.run(None, {self.input.name: normalise(picture[None])})[0] for picture in pictures])
