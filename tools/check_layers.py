#!/usr/bin/env python3
"""Checks that layers point down, external headers stay behind their fences, and large files are known.

Reads every C++ and CUDA source of the tree, and exits 1 with one line per finding. The rules are the three tables below; a
design that gets in the way is changed by an ADR in docs/adr/, together with its row here.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = (".h", ".cc", ".cu", ".cuh")

# A folder may include itself and these. Processes' main.cc, cli/ and tests/ may include everything.
ALLOWED = {
    "base": set(),
    "kernels": {"base"},
    "parallel": {"base", "kernels"},
    "text": {"base"},
    "worker": {"base", "kernels", "parallel"},
    "coordinator": {"base", "parallel"},
    "router": {"base", "parallel", "text"},
    "cli": {"base", "kernels", "parallel", "text", "worker", "coordinator", "router"},
}
MAIN_MAY_INCLUDE = ALLOWED["cli"]

# External headers (regex on the include path) and the only places that may name them.
FENCES = [
    (r"^(cuda|cublas|cudnn|nvtx|cub/|cute/|cutlass/)", ["kernels/cuda/", "parallel/comm/nccl/"]),
    (r"^nccl", ["parallel/comm/nccl/"]),
    (r"^mpi\.h$", ["parallel/comm/mpi/", "parallel/launch/"]),
    (r"^zmq", ["parallel/wire/"]),
    (r"^google/protobuf|\.pb\.h$", ["parallel/wire/"]),
    (r"^boost/(beast|asio)", ["router/http/", "router/main.cc", "router/upstream/", "cli/"]),
    (r"^yaml-cpp/", ["base/yaml.cc"]),
    (r"^spdlog/", ["base/log.cc"]),
    (r"^prometheus/", ["base/metrics.cc"]),
    (r"^CLI/", ["cli/", "router/main.cc", "worker/main.cc", "coordinator/main.cc"]),
    (r"^(immintrin|arm_neon)\.h$", ["kernels/cpu/"]),
]

MAX_LINES = 500
# Files past MAX_LINES, each with its reason. The list only shrinks.
LARGE_FILES: dict[str, str] = {}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def sources():
    for top in [*ALLOWED, "tests"]:
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                yield path


def check_file(path: pathlib.Path) -> list[str]:
    findings = []
    name = path.relative_to(ROOT).as_posix()
    top = name.split("/")[0]
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        quote, included = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        where = f"{name}:{line}"
        first = included.split("/")[0]
        if quote == '"' and first in ALLOWED and top != "tests":
            allowed = MAIN_MAY_INCLUDE if path.name == "main.cc" else ALLOWED[top]
            if first != top and first not in allowed:
                findings.append(f"{where}: {top}/ may not include {first}/ ({included})")
        if top == "tests":
            continue
        for pattern, places in FENCES:
            if re.search(pattern, included) and not any(name.startswith(p) for p in places):
                findings.append(f"{where}: <{included}> belongs to {', '.join(places)} only")
    n_lines = text.count("\n")
    if n_lines > MAX_LINES and name not in LARGE_FILES:
        findings.append(f"{name}: {n_lines} lines; past {MAX_LINES} a file needs a reason in LARGE_FILES")
    return findings


def main() -> int:
    findings = []
    n_files = 0
    for path in sources():
        n_files += 1
        findings += check_file(path)
    for name in LARGE_FILES:
        path = ROOT / name
        if not path.exists() or path.read_text().count("\n") <= MAX_LINES:
            findings.append(f"tools/check_layers.py: {name} is no longer large; take it off the list")
    for finding in findings:
        print(finding)
    print(f"check_layers: {n_files} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
