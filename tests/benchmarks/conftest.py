"""Runs the benchmarks, and lets tests import their modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_llama import make_checkpoint

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT / "benchmarks"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=1024)


@pytest.fixture
def run():
    """run("engine.py", argument, …) -> the process that ended."""

    def run(script, *arguments):
        return subprocess.run([sys.executable, ROOT / "benchmarks" / script, *map(str, arguments)],
                              capture_output=True, text=True, timeout=200, cwd=ROOT)

    return run
