#!/usr/bin/env bash
# Installs the Debian 12 packages that Trireme is built with and runs on; does nothing when all are there.
#
# Usage: tools/install_deps.sh [build|test]      ("test" adds what only the test suite needs)
# Run as root, or as a user with sudo. GPU parts (CUDA Toolkit, NCCL) are found if present and never installed.
set -euo pipefail

build_packages=(
  g++ cmake ninja-build make git ca-certificates pkg-config python3
  libopenmpi-dev openmpi-bin openssh-client
  libzmq3-dev cppzmq-dev libprotobuf-dev protobuf-compiler
  libboost1.81-dev libssl-dev
  prometheus-cpp-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libfmt-dev
  libutf8proc-dev libpcre2-dev curl
)
test_packages=(libgtest-dev libgmock-dev libbenchmark-dev python3-venv procps)

packages=("${build_packages[@]}")
[ "${1:-build}" = test ] && packages+=("${test_packages[@]}")

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing ${#missing[@]} packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: these packages are missing and this user is neither root nor has sudo: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
