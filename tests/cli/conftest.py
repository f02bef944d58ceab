"""Command lines run in this process; a tiny checkpoint for those that need a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny_llama import make_checkpoint

from weft.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def weft(capsys, monkeypatch, kept_logging):
    """Runs a command line in this process: weft("models", "--json") -> Ran."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny Llama checkpoint. Tests that change it take `make_checkpoint` and a directory of their own."""
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")
