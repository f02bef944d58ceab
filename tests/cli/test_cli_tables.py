"""Tables on a terminal of 80 columns: no word and no number is broken."""

from __future__ import annotations

import re
import sys

import pytest

from weft.cli import tables
from weft.cli.tables import print_table

HEADS = ("setting", "value", "from")


@pytest.fixture
def terminal(monkeypatch, capsys):
    """terminal(columns, rows) -> the lines that a terminal of 80 columns shows."""
    monkeypatch.setenv("COLUMNS", "80")

    def shown(columns, rows, **options) -> list[str]:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        print_table(columns, rows, **options)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()      # bold heads

    return shown


def test_long_cells_are_wrapped_between_words(terminal):
    lines = terminal(HEADS, [["num_threads", "2", "the cores that this process may use " * 3]])

    assert max(map(tables._width, lines)) <= 80
    said = " ".join(line.split("│")[3].strip() for line in lines[3:-1])
    assert said == " ".join(["the cores that this process may use"] * 3)


def test_a_table_whose_words_do_not_fit_is_a_list_of_its_rows(terminal):
    heads = ("measured", *(f"percentile_{n}" for n in range(8)))

    lines = terminal(heads, [["batch latency (ms)", *(["12,345,678.90"] * 7), ""]], title="Latency")

    assert lines == ["Latency", "", "batch latency (ms)", *(f"  percentile_{n}  12,345,678.90" for n in range(7))]


def test_a_path_that_is_longer_than_a_column_is_the_one_thing_that_is_broken(terminal):
    path = "/a/place" * 12

    lines = terminal(HEADS, [["model", "x", path]])

    assert max(map(tables._width, lines)) <= 80
    assert "".join(line.split("│")[3].strip() for line in lines[3:-1]) == path
