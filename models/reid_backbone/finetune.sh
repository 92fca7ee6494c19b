#!/bin/sh
# Trains the shipped backbone on with crops of your own and leaves a model folder that `--models.backbone` takes.
#
#   models/reid_backbone/finetune.sh CROPS OUT [EPOCHS]
#
# CROPS/images holds pictures named as in Market-1501 (splits.py says how, and splits the people if CROPS has no
# splits.json). The embeddings stay in the shipped file's space, so that the fusion weights serve them as they are. What
# lies in OUT/training is not needed afterwards.
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 CROPS OUT [EPOCHS]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
crops=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$out/training
mkdir -p "$work"
epochs=${3:-8}
cd "$here"

if [ -z "${PYTHON:-}" ]; then
    PYTHON=$here/.venv/bin/python
    [ -x "$PYTHON" ] || python3 -m venv .venv
    "$PYTHON" -m pip install -q -r requirements.txt
fi
shipped=mobilenetv2_reid_int8.onnx
model=$out/reid_finetuned_int8.onnx
[ -f "$crops/splits.json" ] || "$PYTHON" splits.py "$crops"
"$PYTHON" reopen.py --shared "$crops" --model "$shipped" --out "$work/shipped.pt"
"$PYTHON" train.py --shared "$crops" --init "$work/shipped.pt" --first-block 7 --views 4 --cameras --hybrids 4 --epochs "$epochs" \
    --rate 5e-4 --out "$work"
"$PYTHON" export.py --shared "$crops" --checkpoint "$work/best.pt" --like "$shipped" --out "$work/f32.onnx" \
    --rounded "$work/rounded.onnx"
"$PYTHON" quantize.py --shared "$crops" --model "$work/rounded.onnx" --out "$model" --crops 200
figures=$("$PYTHON" evaluate.py --shared "$crops" --model "$shipped" "$model" --split test)
echo "$figures"
"$PYTHON" card.py --model "$model" --out "$out/card.toml" --name reid-finetuned-256-int8 \
    --source "mobilenetv2-reid-256-int8, trained on with own crops" --metric "own crops, $(echo "$figures" | tail -n 1)"
echo "nformer-edge run --models.backbone $out/card.toml"
