"""Writes the table of architectures: `weft/models/registry/tested.json` from tests, docs/models.md from both.

    python tools/model_table.py --run        runs the tests that prove a column, and writes both files
    python tools/model_table.py              writes docs/models.md only
    python tools/model_table.py --check      exit status 1 when docs/models.md or tested.json is not current

A test proves a column with `@pytest.mark.proves(column, parameter, architectures)`: for the value of its parameter,
looked up in `architectures` (a name, or an object with `cls`). tested.json has what passed; it is current while the
tests that prove something are those that are in it. A test runs the check.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from weft.models.registry.support import COLUMNS, TESTED_FILE, mark, support_rows, tested

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
# The files with tests that prove something.
FILES = ("tests/architectures/test_against_transformers.py", "tests/architectures/test_decoder_families.py",
         "tests/architectures/test_state_models.py", "tests/architectures/test_exaone.py",
         "tests/architectures/test_encoders.py", "tests/architectures/test_encoder_families.py",
         "tests/architectures/test_quantized_families.py", "tests/test_quantize_at_load.py",
         "tests/architectures/test_gguf.py", "tests/architectures/test_gguf_encoders.py",
         "tests/pooling/test_classifiers.py", "tests/pooling/test_rewards.py",
         "tests/pooling/test_sparse_vectors.py", "tests/pooling/test_colbert.py",
         "tests/pooling/test_two_towers.py",
         "tests/models/test_described_pairs.py", "tests/models/test_whisper.py",
         "tests/models/test_sharded_models.py",
         "tests/models/transformers/test_transformers_model.py",
         "tests/models/transformers/test_transformers_encoders.py",
         "tests/models/transformers/test_encoder_decoders.py")
INTRODUCTION = """\
# Architectures

This page is made by `tools/model_table.py` from weft's code and from the results of its tests; `weft models` prints the
same table. ✅: there is code, and a test of this architecture compares the answers. ⚠️: there is code that other
architectures' tests cover, or code that the engine does not use yet. Blank: there is none.

- *runs as*: a description of weft's own (native), a torch module (programmed), or Transformers' code (transformers).
  The last is listed where weft's tests run it; weft tries it for every other architecture that Transformers has.
- *tensor*: matrices are divided for several processes; until the engine starts such processes, ⚠️ at most.
- *quantization*: int8, int4 and w8a8 at load, and quantized checkpoints.
- *tested*: tokens and log-probabilities, or states, against Transformers or plain torch, in company and in chunks.

"""


class Recorder:
    """A plugin of pytest that notes which (column, architecture) each test proves, and whether its cases passed."""

    def __init__(self) -> None:
        self.proven: dict[str, list[tuple[str, str]]] = {}       # node id -> what it proves
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            self.proven[item.nodeid] = [(marker.args[0], _architecture(item, *marker.args[1:]))
                                        for marker in item.iter_markers("proves")]

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def results(self, *, of_run: bool) -> dict[str, list[str]]:
        """{architecture: columns}: of all collected tests, or of those whose cases all passed."""
        found = {pair for pairs in self.proven.values() for pair in pairs}
        if of_run:
            found -= {pair for node, pairs in self.proven.items() for pair in pairs
                      if node in self.failed or node not in self.passed}
        columns = defaultdict(list)
        for column, architecture in sorted(found):
            columns[architecture].append(column)
        return dict(sorted(columns.items()))


def _architecture(item: Any, parameter: str | None = None, architectures: Any = None) -> str:
    found = architectures if parameter is None else item.callspec.params[parameter]
    if parameter is not None and architectures is not None:
        found = architectures[found]
    return found if isinstance(found, str) else found.cls


def page() -> str:
    """The whole page."""
    lines = [f"| architecture | models | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for row in support_rows():
        cells = [f"`{row.name}`", row.summary, *(mark(row.columns[column]) for column in COLUMNS)]
        lines.append(f"| {' | '.join(cells)} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


def collect(*, run: bool) -> Recorder:
    """The tests that prove something, run or only looked at."""
    recorder = Recorder()
    options = ["-m", "proves", "-p", "no:cacheprovider", "-q", *(str(ROOT / file) for file in FILES)]
    if run:
        code = pytest.main(options, plugins=[recorder])
    else:
        with redirect_stdout(StringIO()):      # the names of all tests
            code = pytest.main([*options, "--collect-only"], plugins=[recorder])
    if code not in (0, 1):
        raise SystemExit(f"pytest ended with {code}")
    return recorder


def main(arguments: list[str]) -> int:
    """Write or check."""
    if "--check" in arguments:
        stale = [] if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else [str(PAGE)]
        stale += [] if collect(run=False).results(of_run=False) == tested() else [str(TESTED_FILE)]
        print("current" if not stale else f"not current: {', '.join(stale)}: run tools/model_table.py --run")
        return bool(stale)
    if "--run" in arguments:
        results = collect(run=True).results(of_run=True)
        TESTED_FILE.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        tested.cache_clear()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
