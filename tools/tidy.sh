#!/usr/bin/env bash
# clang-tidy over every source of ours, with the checks of .clang-tidy. Exits non-zero on a finding.
# Usage: tools/tidy.sh [FILE ...]      (no file: all of them)
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset tidy >/dev/null
ninja -C build/tidy -t targets all | sed -n 's/^\(.*\.pb\.h\): .*/\1/p' | xargs -r ninja -C build/tidy >/dev/null
if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(git ls-files 'base/*.cc' 'kernels/*.cc' 'parallel/*.cc' 'text/*.cc' 'worker/*.cc' 'coordinator/*.cc' 'router/*.cc' 'cli/*.cc'); fi
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy -p build/tidy --quiet 2>&1 | grep -v 'warnings generated' || true
test "${PIPESTATUS[1]}" -eq 0
