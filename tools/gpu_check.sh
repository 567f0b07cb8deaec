#!/usr/bin/env bash
# Everything that wants a GPU, in one command: build, op tests, goldens, NCCL, compute-sanitizer, benches.
#
# Usage: tools/gpu_check.sh [--build DIR] [--out DIR] [--preset NAME] [--model CONFIG.json] [--skip-sanitizer]
#   --build   where to build (build/gpubox); kept between runs
#   --out     where results go (build/gpu_check): results.jsonl, table.txt, and a log per part
#   --preset  gpubox (a machine with the toolkit and .gpu_deps/ alone) or cuda (all dependencies)
#   --model   a config.json for the engine's bench with random weights; tests/golden/configs/llama-3.1-8b.json
# Each part ends within its own limit, and a part that fails does not keep the others from running. Exit code 0: all passed.
# Meant to end within 8 minutes on one H200 with 16 cores.
set -uo pipefail
cd "$(dirname "$0")/.."

build=build/gpubox out=build/gpu_check preset=gpubox model=tests/golden/configs/llama-3.1-8b.json sanitizer=1
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --preset) preset=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    --skip-sanitizer) sanitizer=0; shift ;;
    *) echo "error: unknown option $1" >&2; exit 2 ;;
  esac
done
mkdir -p "$out"
: >"$out/results.jsonl"
: >"$out/table.txt"
failed=0

say() { printf '%s\n' "$*" | tee -a "$out/table.txt"; }

# part NAME LIMIT_SECONDS COMMAND...: runs it, logs it, and adds a line to the table.
part() {
  local name=$1 limit=$2 begin=$SECONDS rc
  shift 2
  timeout -k 10 "$limit" "$@" >"$out/$name.log" 2>&1
  rc=$?
  local verdict=passed
  [ $rc -eq 0 ] || { verdict="FAILED ($rc)"; failed=1; }
  # A test binary that skipped everything has shown nothing.
  if [ $rc -eq 0 ] && grep -q '\[  SKIPPED \]' "$out/$name.log" && ! grep -q '\[  PASSED  \] [1-9]' "$out/$name.log"; then
    verdict="SKIPPED: $(grep -m1 -A1 'Skipped' "$out/$name.log" | tail -1)"; failed=1
  fi
  say "$(printf '%-28s %5ds  %s' "$name" $((SECONDS - begin)) "$verdict")"
  printf '{"what":"gpu_check %s","seconds":%d,"rc":%d}\n' "$name" $((SECONDS - begin)) $rc >>"$out/results.jsonl"
  [ "$verdict" = passed ] || tail -n 15 "$out/$name.log" | sed 's/^/    /' | tee -a "$out/table.txt"
  return $rc
}

# bench NAME LIMIT COMMAND...: its JSON lines go to the results and, short, into the table.
bench() {
  local name=$1
  part "$@"
  grep '^{' "$out/$name.log" >>"$out/results.jsonl"
  python3 - "$out/$name.log" <<'PY' | tee -a "$out/table.txt"
import json, sys
for line in open(sys.argv[1]):
    if not line.startswith("{"):
        continue
    r = json.loads(line)
    print(f"    {r['what'][:34]:34} {r['shape'][:60]:60} {r['figure']:>12.1f} {r['unit']:9} {r.get('percent_of_limit', 0):6.1f} %")
PY
}

say "machine: $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1 || echo 'no nvidia-smi')"
say "nvcc: $(nvcc --version 2>/dev/null | tail -1)"
targets=(cuda_ops_test cuda_golden_test bench_gpu bench_engine)
part configure 60 cmake --preset "$preset" -B "$build" || exit 1
part build 240 bash -c "ninja -C '$build' ${targets[*]} && { ninja -C '$build' nccl_test nccl_ranks || echo 'no NCCL in this build'; }" || exit 1

part ops 60 "$build/bin/cuda_ops_test"
part goldens 60 "$build/bin/cuda_golden_test"
if [ -x "$build/bin/nccl_test" ]; then part nccl 90 "$build/bin/nccl_test"; else say "nccl: not in this build"; fi
if [ $sanitizer = 1 ] && command -v compute-sanitizer >/dev/null; then
  # The cases that reach every kernel, once.
  filter='*RowOps*:*Attention.Tensor*:*Attention.Split*:*Attention.Prefill*:*Linear.TakesStrided*:*Linear.Twice*:*Moe*:*Latent*:*Fused*:*Sampling*'
  part memcheck 90 compute-sanitizer --tool memcheck --error-exitcode 9 "$build/bin/cuda_ops_test" --gtest_filter="$filter"
  part racecheck 90 compute-sanitizer --tool racecheck --error-exitcode 9 "$build/bin/cuda_ops_test" \
    --gtest_filter='*Attention.Split*:*Linear.Twice*:*RowOps.RmsNorm*'
fi
bench bench_gpu 90 "$build/bin/bench_gpu"
bench bench_engine 150 "$build/bin/bench_engine" "$model" --random-weights --backend cuda --batch 1,8,64 --context-tokens 1024 \
  --output-tokens 30 --prompt-tokens 2048 --rounds 3
bench bench_engine_fp8 90 "$build/bin/bench_engine" tests/golden/configs/llama-3.1-8b-fp8.json --random-weights --keep-low-bit \
  --backend cuda --batch 1,8,64 --context-tokens 1024 --output-tokens 30 --prompt-tokens 2048 --rounds 3
# What recorded decode steps gain, and what batch invariance costs.
bench bench_engine_op_by_op 60 "$build/bin/bench_engine" "$model" --random-weights --backend cuda --batch 1,64 --context-tokens 1024 \
  --output-tokens 30 --prompt-tokens 256 --rounds 2 --no-decode-graphs
bench bench_engine_invariant 60 "$build/bin/bench_engine" "$model" --random-weights --backend cuda --batch 1,64 --context-tokens 1024 \
  --output-tokens 30 --prompt-tokens 2048 --rounds 2 --batch-invariant

say ""
[ $failed = 0 ] && say "gpu_check: all passed" || say "gpu_check: SOMETHING FAILED; logs in $out"
exit $failed
