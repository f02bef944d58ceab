"""The benchmarks run: small, on a tiny checkpoint, for their tables and not for their numbers."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_llama import make_checkpoint

from weft.ops.native import extension

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=1024)


def run(script, *arguments):
    return subprocess.run([sys.executable, ROOT / "benchmarks" / script, *map(str, arguments)], capture_output=True,
                          text=True, timeout=200, cwd=ROOT)


def test_the_engine_benchmark_prints_each_goal(directory):
    done = run("engine.py", directory, "--rounds", 1, "--prefill-len", 64, "--decode-len", 4, "--num-requests", 2,
               "--output-len", 3, "--num-threads", 1)

    assert done.returncode == 0, done.stderr
    for line in ("start to first token", "prefill", "single decode", "2 requests", "peak memory / plan"):
        assert line in done.stdout


def test_the_decode_profile_prints_the_share_outside_operators(directory):
    done = run("decode_profile.py", directory, "--batch-sizes", 1, 2, "--prompt-len", 8, "--steps", 2,
               "--num-threads", 1)

    assert done.returncode == 0, done.stderr
    assert "share" in done.stdout and "schedule" in done.stdout


def test_the_scheduler_benchmark_prints_its_loads():
    done = run("scheduler.py", "--running", 4, "--waiting", 10, "--steps", 5)

    assert done.returncode == 0, done.stderr
    assert "decode" in done.stdout and "preempt" in done.stdout


@pytest.mark.skipif(extension() is None, reason="weft was installed without its native kernels")
def test_the_attention_benchmark_prints_the_fraction_of_each_bound():
    done = run("attention.py", "--context", 512, "--num-seqs", 2, "--rounds", 1, "--num-threads", 1)

    assert done.returncode == 0, done.stderr
    for line in ("decode 1 x 512", "decode 2 x 32", "prompt 256", "fraction"):
        assert line in done.stdout
