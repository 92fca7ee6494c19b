"""Writes `card.toml`, the contract the Rust side reads, from the weights file and the measured figures.

    python card.py --metric "Market-1501 own split, test: .."
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from nformer import load

CARD = """\
name = "nformer-256"
task = "fusion"
file = "{file}"
sha256 = "{sha256}"
head = "nformer"
quantisation = "float32"
licence = "MIT OR Apache-2.0"
source = "own implementation and training of NFormer (Wang et al., CVPR 2022) on embeddings of mobilenetv2-reid-256-int8 over the Market-1501 train split (421 identities; research data)"
metric = "{metric}"

[output]
width = {width}

[fusion]
input_width = {width}
layers = {layers}
heads = {heads}
landmarks = {landmarks}
top_k = {top_k}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("nformer.safetensors"))
    parser.add_argument("--metric", required=True)
    parser.add_argument("--out", type=Path, default=Path("card.toml"))
    args = parser.parse_args()

    model, top_k = load(args.weights)
    shape = model.shape
    card = CARD.format(
        file=args.weights.name,
        sha256=hashlib.sha256(args.weights.read_bytes()).hexdigest(),
        metric=args.metric,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        landmarks=model.agents.shape[3],
        top_k=top_k,
    )
    args.out.write_text(card)


if __name__ == "__main__":
    main()
