"""Grammars are compiled once, and a hostile one ends with an error in its time, whatever it would do."""

from __future__ import annotations

import os
import signal
import subprocess
import threading

import psutil
import pytest
from byte_grammars import VOCABULARY, constraint_of, takes
from waiting import until

from weft.errors import RequestError, WeftError
from weft.grammar import compile_pool
from weft.grammar.compile_pool import CompilePool
from weft.grammar.compiler import Compiler
from weft.grammar.form import ConstraintSpec
from weft.grammar.read import read_constraint
from weft.grammar.trial import Trial
from weft.isolated import process as isolated
from weft.structured_outputs import StructuredOutputsParams as Form

ENDLESS = Form(json={"type": "string", "allOf": [{"pattern": f".*a.{{{i}}}b.*"} for i in range(60)]})
HOSTILE = {
    "doubling references": {"$ref": "#/$defs/a0", "$defs": {"a40": {"type": "integer"}} | {
        f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)}},
    "a reference to itself": {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
    "alternatives of alternatives": {"allOf": [{"anyOf": [
        {"type": "object", "properties": {f"a{i}{j}": {"type": "integer"}}} for j in range(4)]} for i in range(12)]},
    "many properties": {"type": "object", "properties": {f"p{i}": {"type": "integer"} for i in range(25_000)}},
    "many patterns": {"type": "object", "patternProperties": {f"^{i}.*x{i}$": {} for i in range(2_000)}},
    "many texts": {"enum": [f"v{i * 7919 % 1000003}" for i in range(60_000)]},
    "a huge count": {"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000},
    "counts of counts": {"type": "string", "pattern": "((a{1,1000}){1,1000}b?){1,1000}"},
    "patterns at once": ENDLESS.json,
}


@pytest.fixture
def pool():
    made = CompilePool(VOCABULARY, trial_seconds=1.0)
    yield made
    made.close()


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_schema_compiles_or_is_refused_in_its_time(pool, schema):
    future = pool.start(read_constraint(Form(json=schema)))

    error = future.exception(timeout=60)
    assert error is None or isinstance(error, RequestError)


@pytest.mark.parametrize("form", [
    lambda: Form(regex="|".join(f"v{i}" for i in range(200_000))), lambda: Form(json={"description": "x" * 2**20}),
    lambda: Form(choice=["x" * 2**20]), lambda: Form(json="[" * 100_000), lambda: Form(json=nested(70))])
def test_what_is_too_long_or_too_deep_is_refused_unread(form):
    with pytest.raises(RequestError):
        read_constraint(form())


def nested(depth: int) -> dict:
    return {"items": nested(depth - 1)} if depth else {}


def test_a_grammar_that_takes_too_long_is_refused_and_the_next_one_is_compiled(pool):
    with pytest.raises(RequestError, match=r"structured_outputs\.json.*more than 1 s"):
        pool.start(read_constraint(ENDLESS)).result(timeout=60)

    assert pool.start(read_constraint(Form(regex="a"))).result(timeout=60).new()


def test_others_are_compiled_while_one_takes_its_time(pool):
    slow = pool.start(read_constraint(ENDLESS))

    for i in range(5):
        pool.start(read_constraint(Form(regex=f"a{{{i + 1}}}"))).result(timeout=60)
    assert isinstance(slow.exception(timeout=60), RequestError)


def test_nobody_waits_for_the_vocabulary_to_be_read_but_the_grammars(monkeypatch):
    may_read = threading.Event()

    class SlowCompiler(Compiler):
        def __init__(self, vocabulary):
            assert may_read.wait(60)
            super().__init__(vocabulary)

    monkeypatch.setattr(compile_pool, "Compiler", SlowCompiler)
    pool = CompilePool(VOCABULARY)
    started = [pool.start(read_constraint(Form(regex=text))) for text in ("a", "b", "c")]
    assert not any(future.done() for future in started)

    may_read.set()
    assert all(future.result(60) for future in started)
    pool.close()


def test_equal_grammars_are_compiled_once_and_bad_ones_are_remembered(pool):
    good, bad = read_constraint(Form(regex="a+")), read_constraint(Form(regex="("))

    assert pool.start(good) is pool.start(read_constraint(Form(regex="a+")))
    assert pool.start(bad).exception(timeout=60) is pool.start(bad).exception()
    assert pool.start(good).result().new() is not pool.start(good).result()


def test_the_memory_of_kept_grammars_is_bounded_and_the_oldest_is_forgotten(pool):
    specs = [ConstraintSpec(grammar="{" + str(i) * 2**18, field="x") for i in range(6)]
    futures = []
    for spec in specs:
        futures.append(pool.start(spec))
        with pytest.raises(RequestError):
            futures[-1].result(timeout=60)

    each = (256 << 18) + 256 + (64 << 10)      # 256 bytes a character, and 64 KiB
    assert pool.num_bytes == 3 * each <= 256 << 20 < 4 * each
    assert [pool.start(spec) is future for spec, future in zip(specs[3:], futures[3:], strict=True)] == [True] * 3
    assert pool.start(specs[0]) is not futures[0]


def test_a_process_that_dies_is_started_again():
    trial = Trial(VOCABULARY)
    assert trial.judge(read_constraint(Form(regex="a"))).error == ""
    assert trial.pid is not None
    pid = trial.pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)

    assert trial.judge(read_constraint(Form(regex="b"))).error == ""
    trial.close()


def test_a_process_that_is_closed_while_it_starts_is_not_left_behind(monkeypatch):
    started, may_go_on, start = [], threading.Event(), subprocess.Popen

    def popen(*arguments, **named):
        started.append(start(*arguments, **named))
        assert may_go_on.wait(60)
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    pool = CompilePool(VOCABULARY)
    future = pool.start(read_constraint(Form(regex="a")))
    until(lambda: started)
    pool.close()
    may_go_on.set()

    with pytest.raises(WeftError, match="closed"):
        future.result(60)
    assert started[0].returncode is not None


def test_a_trial_does_all_of_the_engines_work_with_the_vocabulary():
    trial = Trial(VOCABULARY)

    assert trial.judge(read_constraint(Form(grammar="start: <[256]>"))).error == ""
    assert "too large" in trial.judge(read_constraint(Form(grammar="start: <[257]>"))).error      # ids go up to 256
    trial.close()


def test_a_process_that_cannot_start_is_no_fault_of_the_grammar(monkeypatch):
    spec, pool = read_constraint(Form(regex="a+")), CompilePool(VOCABULARY)
    with monkeypatch.context() as patched:
        patched.setattr(isolated, "_BOOT", "import sys; sys.exit(3)")
        with pytest.raises(WeftError, match=r"ended at its start \(exit code 3\)"):
            pool.start(spec).result(60)

    assert pool.start(spec).result(60).new() is not None
    pool.close()


def test_an_answer_over_a_long_choice_is_one_of_its_texts():
    choices = [f"v{i * 7919 % 1000003}" for i in range(20_000)]

    assert takes(Form(choice=choices), choices[700]) and not takes(Form(choice=choices), "v")
    assert constraint_of(Form(choice=choices))
