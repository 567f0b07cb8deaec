#!/usr/bin/env bash
# clang-tidy over every source of ours, tests included, with the checks of .clang-tidy. Exits non-zero on a finding.
# Usage: [JOBS=N] tools/tidy.sh [FILE ...]      (no file: all of them; JOBS: how many at a time, default one per core)
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset tidy >/dev/null
# Headers that the build generates are needed to read ours; nothing else is built.
ninja -C build/tidy -t targets all | sed -n 's/^\(.*\.pb\.h\): .*/\1/p' | xargs -r ninja -C build/tidy >/dev/null
if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(git ls-files '*.cc'); fi
# A file that this build does not compile (the fuzzers are clang's) has no flags to read it with.
known=()
for file in "${files[@]}"; do
  if grep -qF "\"file\": \"$PWD/$file\"" build/tidy/compile_commands.json; then known+=("$file"); fi
done
log=build/tidy/findings.txt
# The flags are GCC's, and clang does not know every warning that they switch off.
if printf '%s\n' "${known[@]}" | xargs -P "${JOBS:-$(nproc)}" -n 1 \
    clang-tidy -p build/tidy --quiet --extra-arg=-Wno-unknown-warning-option >"$log" 2>/dev/null; then
  echo "tidy: ${#known[@]} files, no finding"
else
  cat "$log"
  echo "tidy: findings, also in $log" >&2
  exit 1
fi
