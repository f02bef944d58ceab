"""docs/coming-from-vllm.md says what the table of options says, and the table has every option of vLLM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.pooling import POOLING
from weft.compat.vllm.options.pooling_requests import EMBEDDING
from weft.compat.vllm.options.requests import GENERATING
from weft.compat.vllm.options.sampling import BEAM, SAMPLING
from weft.compat.vllm.options.serve import SERVE

ROOT = Path(__file__).parents[2]
TABLES = {"engine": [ENGINE], "llm": [ENGINE], "serve": [SERVE, ENGINE], "sampling": [SAMPLING], "pooling": [POOLING],
          "beam": [BEAM], "generating": [GENERATING], "embedding": [EMBEDDING]}
# One line for each class of vLLM: its name, and every public option it had in the releases 0.6.0 to 0.33.0.
NAMES = {line.partition(":")[0]: line.partition(":")[2].split()
         for line in (Path(__file__).parent / "vllm_options.txt").read_text().splitlines()}


def test_the_page_is_current():
    command = [sys.executable, ROOT / "tools" / "make_vllm_docs.py", "--check"]

    checked = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("group", NAMES)
def test_every_option_of_vllm_is_in_the_table(group):
    known = {name for rows in TABLES[group] for name in rows}

    assert set(NAMES[group]) - known == set()
