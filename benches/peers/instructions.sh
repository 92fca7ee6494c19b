#!/usr/bin/env bash
# Instructions to store and fuse one new row in a buffer of 256 (k = 5, bursts of three), counted by valgrind: the same
# whatever else the machine does. Run fusion.sh once before: it makes the rows and weights.
set -euo pipefail
cd "$(dirname "$0")/../.."
peers=$PWD/target/peers
rows=$peers/rows-real.safetensors
[ -f "$rows" ] || rows=$peers/rows-made-up.safetensors
[ -f "$rows" ] || { echo "run benches/peers/fusion.sh first"; exit 1; }
worker=$(cargo build --release --locked --bench fusion_worker --message-format=json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("target", {}).get("name") == "fusion_worker" and message.get("executable"):
        print(message["executable"])')

# Instructions of a whole run with $2 bursts; the difference of two runs leaves the start-up out.
count() {
    { echo "load $peers/weights-$1.safetensors $rows"; for _ in $(seq "$2"); do echo "online 256 3 5"; done; } |
        valgrind --tool=callgrind --callgrind-out-file=/dev/null "$worker" 2>&1 >/dev/null |
        sed -n 's/.*Collected : //p'
}

for layers in 1 2 4; do
    [ -f "$peers/weights-$layers.safetensors" ] || continue
    few=$(count "$layers" 10)
    many=$(count "$layers" 50)
    echo "$layers layers: $(((many - few) / 120)) instructions a row"
done
