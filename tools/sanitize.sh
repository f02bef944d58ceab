#!/usr/bin/env bash
# Runs the tests of the native kernels, and of the layers that foreign code calls, under AddressSanitizer and
# UndefinedBehaviorSanitizer, with the extension's own checks (block ids in range) compiled in.
#
#     tools/sanitize.sh [pytest arguments; default: tests/ops tests/layers]
#
# Builds beside the working tree's own build and puts the module into a copy of the package, so that nothing here changes.
# Needs the packages of the dev extra, cmake and nanobind in the current Python, and a GCC with libasan.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r CMakeLists.txt csrc weft tests examples pyproject.toml "$work"
rm -f "$work"/weft/_native*.so
python=$(command -v python3)
cmake -S "$work" -B "$work/build" -DPython_EXECUTABLE="$python" \
  -DWEFT_SANITIZE=address,undefined -DWEFT_CHECKS=ON -DWEFT_EMULATED_TILES=ON >/dev/null
cmake --build "$work/build"
cd "$work"
# Python itself leaks on purpose; the sanitizer's runtime has to be there before anything else. -fsanitize=undefined
# prints and goes on by default: halt, so that a finding ends the run. Its report goes past pytest, to the terminal.
export LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export OMP_NUM_THREADS=2 PYTHONPATH=$work
[ $# -gt 0 ] || set -- tests/ops tests/layers
exec "$python" -m pytest -q --capture=sys -p no:cacheprovider "$@"
