#!/usr/bin/env bash
# The benchmarks, one JSON object a line on stdout. Usage: tools/bench.sh build/bin/trireme
set -euo pipefail
trireme=$1
root=$(cd "$(dirname "$0")/.." && pwd)
"$trireme" bench ops
"$trireme" bench collective
"$trireme" bench scheduler
"$trireme" bench router --replicas 2 --streams 64
"$trireme" bench engine "$root/tests/golden/configs/llama-3.2-1b.json" --random-weights --prompt-tokens 256 --output-tokens 16 --batch 1,8,32
