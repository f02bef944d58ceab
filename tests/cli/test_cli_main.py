"""The command itself: what it prints without a model, how it ends, and how little it loads for that."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from weft.cli.environment import configure_logging
from weft.cli.main import COMMANDS, main
from weft.errors import CheckpointError, ConfigError
from weft.version import __version__

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "transformers", "fastapi", "uvicorn", "numpy")


def weft_process(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "weft.cli.main", *arguments], capture_output=True, text=True,
                          timeout=60, stdin=subprocess.DEVNULL, **options)


def test_version_prints_the_version():
    ran = weft_process("--version")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"weft {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], *([*name.split(), "--help"] for name in COMMANDS)],
                         ids=" ".join)
def test_nothing_heavy_is_loaded_to_answer_help(arguments):
    code = ("import sys; from weft.cli.main import main; status = main(sys.argv[1:]); "
            f"print('loaded', status, *[m for m in {HEAVY} if m in sys.modules])")

    out = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout

    assert out.splitlines()[-1] == "loaded 0"


def test_help_names_every_command(weft):
    out = weft("--help").out

    assert all(name in out for name in COMMANDS)


def test_no_command_shows_the_help_and_is_a_wrong_command_line(weft):
    assert weft().status == 2
    assert weft("bench").status == 2
    assert "bench latency" in weft("bench").out


@pytest.mark.parametrize(("arguments", "hint"), [
    (["serv"], "did you mean 'serve'"), (["bench", "latencies"], "did you mean 'bench latency'"),
    (["--verson"], "unknown option"), (["serve", "--max-modellen", "4"], "did you mean --max-model-len"),
    (["models", "a", "b"], "unexpected argument 'b'"), (["serve", "--port", "x"], "--port"),
    (["run-batch"], "--input-file"),
])
def test_a_wrong_command_line_ends_with_status_2_and_one_line(weft, arguments, hint):
    ran = weft(*arguments)

    assert ran.status == 2 and ran.out == ""
    assert hint in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize(("error", "status"), [
    (KeyboardInterrupt(), 130), (CheckpointError("no weights"), 1), (FileNotFoundError(2, "No such file", "x"), 1),
])
def test_the_exit_status_tells_how_it_ended(weft, monkeypatch, error, status):
    def fail(options):
        raise error

    monkeypatch.setattr(importlib.import_module("weft.cli.models"), "run", fail)

    assert weft("models").status == status


def test_a_programming_error_is_not_hidden(monkeypatch):
    def fail(options):
        raise ZeroDivisionError

    monkeypatch.setattr(importlib.import_module("weft.cli.models"), "run", fail)

    with pytest.raises(ZeroDivisionError):
        main(["models"])


def test_traceback_shows_where_an_error_came_from(weft):
    without = weft("inspect", "/nowhere/at/all")
    with_it = weft("inspect", "/nowhere/at/all", "--traceback")

    assert without.err.count("\n") == 1 and without.err.startswith("weft: error: model = '/nowhere/at/all'")
    assert with_it.err.startswith("Traceback") and with_it.status == without.status == 1


def test_a_reader_that_goes_away_is_no_error():
    shell = f"{sys.executable} -m weft.cli.main models | head -1; echo ${{PIPESTATUS[0]}} >&2"

    ran = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)

    assert ran.stdout.endswith("architectures\n")
    assert ran.stderr.strip() in ("0", "141")      # 0 where the pipe took the whole text before head left


@pytest.mark.parametrize("arguments", [["models"], ["--version"], ["--help"], ["serve", "--help"]], ids=" ".join)
def test_a_reader_that_has_gone_before_the_first_line_is_no_error(arguments):
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ran = subprocess.run([sys.executable, "-m", "weft.cli.main", *arguments], stdout=writing, env=buffered,
                             stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writing)

    assert (ran.returncode, ran.stderr) == (141, "")


def test_an_unknown_variable_of_ours_is_told(caplog):
    configure_logging({"WEFT_API_KEYS": "x", "WEFT_API_KEY": "x", "VLLM_SOMETHING": "x"})

    assert [record.getMessage() for record in caplog.records] == [
        "WEFT_API_KEYS is no variable of weft and changes nothing; did you mean WEFT_API_KEY?"]


def test_an_unknown_logging_level_is_an_error():
    with pytest.raises(ConfigError, match="VLLM_LOGGING_LEVEL = 'LOUD'"):
        configure_logging({"VLLM_LOGGING_LEVEL": "LOUD"})


def test_the_page_about_the_command_line_says_what_help_says():
    command = [sys.executable, ROOT / "tools" / "make_cli_docs.py", "--check"]

    ran = subprocess.run(command, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stdout + ran.stderr
