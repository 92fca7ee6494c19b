#!/usr/bin/env bash
# Quantised ONNX models here against plain tract (f32), ONNX Runtime (f32 and int8) and ncnn (f32): one thread each,
# interleaved, medians.
#   benches/peers/onnx.sh [--quick] [--only MODEL...]
#   benches/peers/onnx.sh --evaluate     retrieval by the shipped backbone, ours against ONNX Runtime
#   benches/peers/onnx.sh --tests        writes the small models of tests/quantised anew
# The last line is one JSON object of ratios (ours divided by the other; smaller is better) and cosines.
# Needs python3 with venv; installs the pinned packages into target/peers/venv-onnx at the first run.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=target/peers
pins=benches/peers/onnx-requirements.txt
mkdir -p "$peers"
if [ ! -x "$peers/venv-onnx/bin/python" ] || ! cmp -s "$pins" "$peers/onnx-requirements.txt"; then
    python3 -m venv "$peers/venv-onnx"
    "$peers/venv-onnx/bin/pip" install --quiet --no-deps --requirement "$pins"
    cp "$pins" "$peers/onnx-requirements.txt"
fi
python="$peers/venv-onnx/bin/python"
export OMP_NUM_THREADS=1
if [ "${1:-}" = --tests ]; then
    exec "$python" benches/peers/onnx_models.py --tests tests/quantised
fi
cargo build --release --locked --bench onnx_worker 2>&1 | tail -n 1
worker=$(cargo build --release --locked --bench onnx_worker --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("target", {}).get("name") == "onnx_worker" and message.get("executable"):
        print(message["executable"])')
exec "$python" benches/peers/onnx_compare.py --worker "$worker" --cache "$peers/onnx" "$@"
