#!/usr/bin/env bash
# NFormer here against its dense forward in PyTorch: one thread each, interleaved, medians.
#   benches/peers/fusion.sh [--quick]
# The last line is one JSON object of ratios (ours divided by the other; smaller is better).
# Needs python3 with venv; installs the pinned packages into target/peers/venv at the first run.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=target/peers
mkdir -p "$peers"
if [ ! -x "$peers/venv/bin/python" ] || ! cmp -s benches/peers/requirements.txt "$peers/requirements.txt"; then
    python3 -m venv "$peers/venv"
    "$peers/venv/bin/pip" install --quiet --requirement benches/peers/requirements.txt
    cp benches/peers/requirements.txt "$peers/requirements.txt"
fi
cargo build --release --locked --bench fusion_worker 2>&1 | tail -n 1
worker=$(cargo build --release --locked --bench fusion_worker --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("target", {}).get("name") == "fusion_worker" and message.get("executable"):
        print(message["executable"])')
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
exec "$peers/venv/bin/python" benches/peers/fusion.py --worker "$worker" --cache "$peers" "$@"
