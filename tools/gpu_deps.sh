#!/usr/bin/env bash
# Unpacks the header-only parts that a GPU box lacks into .gpu_deps/: fmt, spdlog, nlohmann-json, CLI11, GoogleTest's sources.
#
# Usage: tools/gpu_deps.sh        (on a Debian or Ubuntu machine that reaches its package mirror; no root needed)
# Then carry the folder to the GPU box beside the sources, and configure there with `cmake --preset gpubox`.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev googletest)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get -q download "${packages[@]}")
for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done

rm -rf .gpu_deps
mkdir -p .gpu_deps/usr/include .gpu_deps/usr/src
for folder in fmt spdlog nlohmann CLI; do cp -r "$work/root/usr/include/$folder" .gpu_deps/usr/include/; done
cp -r "$work/root/usr/src/googletest" .gpu_deps/usr/src/
du -sh .gpu_deps
