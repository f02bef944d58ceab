#!/usr/bin/env bash
# Builds the kernels for 64-bit ARM with a cross compiler and runs the tests of the operators with an ARM Python under
# user-mode emulation.
#
#     tools/arm.sh [pytest arguments; default: tests/ops]
#     tools/arm.sh --short                       what CI runs: compile all levels, test products, norms and attention
#
# Needs Debian's g++-aarch64-linux-gnu and qemu-user-static, apt-get with the architecture arm64 (dpkg --add-architecture
# arm64 && apt-get update) and pip. Without the cross compiler or the emulator it says so and ends with 0. The ARM Python
# (Debian's packages, unpacked, not installed), torch and pytest are kept in WEFT_ARM_CACHE, default
# ~/.cache/weft-arm (1.5 GB).
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in aarch64-linux-gnu-g++ qemu-aarch64-static; do
  command -v "$tool" >/dev/null || { echo "ARM: not tested, because $tool is not installed"; exit 0; }
done
short=(tests/ops/test_norm.py tests/ops/test_activation.py tests/ops/test_integer_product.py
  tests/ops/test_block_product.py tests/ops/test_linear.py tests/ops/test_attention_rows.py)
if [ "${1:-}" = --short ]; then set -- -x "${short[@]}"; fi
[ $# -gt 0 ] || set -- tests/ops

cache=${WEFT_ARM_CACHE:-$HOME/.cache/weft-arm}
root=$cache/root site=$cache/site
# torch 2.8: the last on PyPI for ARM that needs no CUDA. The operators' tests need no newer one.
if [ ! -d "$site/torch" ]; then
  mkdir -p "$cache/debs" "$root"
  (cd "$cache/debs" && apt-get download -q=2 {python3.11-minimal,libpython3.11-minimal,libpython3.11-stdlib}:arm64 \
    {libc6,libgcc-s1,libstdc++6,libgomp1,libexpat1,zlib1g,libssl3,libffi8,libbz2-1.0}:arm64 \
    {liblzma5,libsqlite3-0,libuuid1,libcrypt1}:arm64 && for deb in *.deb; do dpkg -x "$deb" "$root"; done)
  platforms=(--platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64)
  pip install -q --target "$site" --no-deps "${platforms[@]}" --python-version 3.11 --only-binary=:all: \
    torch==2.8.0 numpy msgspec psutil safetensors typing_extensions sympy mpmath networkx jinja2 markupsafe filelock \
    fsspec pytest pytest-timeout pytest-asyncio iniconfig pluggy packaging pygments hypothesis sortedcontainers
fi
# The emulator takes files of its root first, and the host's /proc/cpuinfo would tell of the host's processor.
mkdir -p "$root/proc"
printf 'processor\t: 0\nFeatures\t: fp asimd fphp asimdhp asimddp bf16 i8mm\n' >"$root/proc/cpuinfo"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r weft tests examples pyproject.toml "$work"
rm -f "$work"/weft/_native*.so
cmake -S . -B "$cache/build" -G Ninja -DSKBUILD=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DPython_EXECUTABLE="$(command -v python3)" \
  -DPython_INCLUDE_DIR="$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
  -DNB_SUFFIX=.cpython-311-aarch64-linux-gnu.so >/dev/null
cmake --build "$cache/build"
cp "$cache"/build/_native.cpython-311-aarch64-linux-gnu.so "$work/weft/"
cd "$work"
arm=(qemu-aarch64-static -cpu max -L "$root" -E "PYTHONPATH=$work:$site" -E OMP_NUM_THREADS=2
  -E "PATH=$root/usr/bin" "$root/usr/bin/python3.11")
"${arm[@]}" -c "
import platform
from pathlib import Path
from weft.config.isa import isa_flags, levels_within
levels = levels_within(isa_flags(Path('/')).value)
assert (platform.machine(), levels[1:]) == ('aarch64', ['portable', 'neon', 'neon_i8mm']), (platform.machine(), levels)
print('levels of', platform.machine(), *levels[1:])"
exec "${arm[@]}" -m pytest -q -p no:cacheprovider "$@"
