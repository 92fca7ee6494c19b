"""mAP and Rank-1 of an ONNX backbone on the fixed query and gallery lists.

Tune on `val`; `test` is for the figure that is reported.

    python evaluate.py --shared "$NFORMER_EDGE_SHARED" --model mobilenetv2_reid_int8.onnx --split val
"""

from __future__ import annotations

import argparse
from pathlib import Path

from backbone import Backbone
from data import DEFAULT_SHARED, Market, retrieval_scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=DEFAULT_SHARED)
    parser.add_argument("--model", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    query, gallery = Market(args.shared).retrieval(args.split)
    for path in args.model:
        backbone = Backbone(path, args.threads)
        mean_ap, rank_1 = retrieval_scores(backbone.embed(query), backbone.embed(gallery), query, gallery)
        print(f"{path.name} {args.split}: mAP {mean_ap:.1f} Rank-1 {rank_1:.1f} ({len(query)} queries, {len(gallery)} gallery)")


if __name__ == "__main__":
    main()
