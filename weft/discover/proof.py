"""Proves a description: tiny models with other sizes and switches run in weft's engine beside Transformers' class."""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weft.config.engine_args import EngineArgs
from weft.discover.search import Search, save
from weft.discover.tiny import SIZES, config_of, make_model, resized
from weft.testing.check import Settings, compare
from weft.testing.report import DIFFERS, Report

LENGTHS = (100, 2)           # tokens of the prompts


@dataclass(frozen=True, slots=True)
class Trial:
    """One config that was proven, or was not. changed: how it differs from the first. error: why it could not run."""

    changed: str
    report: Report | None = None
    error: str = ""

    @property
    def holds(self) -> bool:
        """Whether all numbers agree."""
        return self.report is not None and self.report.is_equal

    def text(self) -> str:
        """One line."""
        if self.report is None:
            return f"{self.changed}: {self.error}"
        worst = max(check.error for check in self.report.checks)
        if self.holds:
            return f"{self.changed}: equal, {self.report.num_tokens} tokens, largest difference {worst:.1e}"
        fault = "" if self.report.fault is None else f" ({self.report.fault.part}: {self.report.fault.kind})"
        names = ", ".join(check.name for check in self.report.checks if check.verdict == DIFFERS)
        return f"{self.changed}: differs by {worst:.1e} in {names}{fault}"


def prove(search: Search, text: str) -> list[Trial]:
    """The description on configs that the search saw, and on some that it did not, each in all ways of running."""
    trials: list[Trial] = []
    for changed, values in _configs(search):
        found = try_config(search, text, changed, values, LENGTHS if not trials else LENGTHS[:1])
        trials += found
        if found and not found[0].holds and len(trials) <= len(LENGTHS):
            break                        # the first config fails: others tell no more
    return trials


def failing_switches(search: Search, text: str, trials: list[Trial]) -> list[str]:
    """The keys of which one other value alone makes the description wrong. Tried: those changed in trials that fail."""
    words = [trial.changed for trial in trials if not trial.holds]
    keys = [key for key in search.accepted if key not in search.refused
            and any(key in changed.removesuffix(" changed").split(", ") for changed in words)]
    bases = (search.tiny, resized(search.tiny, 2))
    return [key for key in keys if not all(trial.holds for base in bases for trial in try_config(
        search, text, key, {**base, key: search.accepted[key]}, LENGTHS[:1]))]


def try_config(search: Search, text: str, changed: str, values: dict[str, Any],
               lengths: tuple[int, ...]) -> list[Trial]:
    """Trials of one config; none where the class refuses the values together: files cannot have them."""
    try:
        config = config_of(search.cls, values)
        model = make_model(search.cls, config, f"proof of {search.cls.__name__}")
        with torch.inference_mode():
            model(torch.tensor([[1, 2, 3]]))
    except Exception:
        return []
    return [_trial(changed, model, text, length) for length in lengths]


def _configs(search: Search) -> list[tuple[str, dict[str, Any]]]:
    """(words, values) of configs: the first one; other sizes; some of the switches at once, twice."""
    draw = random.Random(0)
    flips = {key: value for key, value in search.accepted.items()
             if key not in search.refused and key not in SIZES}
    half = {key: value for key, value in flips.items() if draw.random() < 0.5}
    rest = {key: value for key, value in flips.items() if key not in half}
    out = [("first config", dict(search.tiny)), ("other sizes", resized(search.tiny, 2))]
    return out + [(f"{', '.join(some)} changed", {**resized(search.tiny, column), **some})
                  for column, some in ((2, half), (1, rest)) if some]


def _trial(changed: str, model: Any, text: str, length: int) -> Trial:
    with tempfile.TemporaryDirectory() as folder:
        save(model, folder)
        file = Path(folder, "description.py")
        file.write_text(text)
        args = EngineArgs(model=folder, model_file=str(file), kv_cache_memory_bytes=64 << 20)
        try:
            with _silent():
                report = compare(args, Settings(num_tokens=length, num_new=8), model)
                if not report.is_equal:      # padding that was generated counts for no position in some classes
                    report = compare(args, Settings(num_tokens=length, num_new=1), model)
            return Trial(changed, report)
        except Exception as error:               # a description that is wrong may fail anywhere
            return Trial(changed, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")


@contextmanager
def _silent() -> Iterator[None]:
    """weft logs nothing about the config of a trial's temporary checkpoint."""
    logger = logging.getLogger("weft")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
