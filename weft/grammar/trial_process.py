"""The process of a `Trial`: reads specs from its standard input, compiles each, and answers with a Verdict a line.

It does all that the engine does before an answer's first token, with the same vocabulary, which it reads from a file.
It ends with its input, and is killed when it is late. Its memory is limited.
"""

from __future__ import annotations

import os
import resource
import sys

import msgspec
from llguidance import LLMatcher

from weft.errors import RequestError
from weft.grammar.compiler import Compiler
from weft.grammar.form import ConstraintSpec
from weft.grammar.limits import parser_limits
from weft.grammar.schema_fault import fault_of_schema, first_line, schema_of
from weft.grammar.trial import Verdict
from weft.grammar.vocabulary import Vocabulary

_MAX_BYTES = 2 << 30      # of address space
_MAX_SECONDS = 30         # of processor time for a grammar; `Trial` gives it less


def main(fd: int) -> None:
    """Judges specs until the input ends. fd: a file with the vocabulary."""
    with os.fdopen(fd, "rb") as file:
        compiler = Compiler(msgspec.msgpack.decode(file.read(), type=Vocabulary))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    _answer(Verdict())
    while size := sys.stdin.buffer.read(4):
        spec = msgspec.msgpack.decode(sys.stdin.buffer.read(int.from_bytes(size, "big")), type=ConstraintSpec)
        _limit_time()
        _answer(judge(spec.grammar) or _compiled(spec, compiler))


def judge(grammar: str) -> Verdict | None:
    """What is wrong with a grammar by itself; None: nothing."""
    message = first_line(LLMatcher.validate_grammar(grammar, limits=parser_limits()))
    if not message:
        return None
    schema = schema_of(grammar)
    if schema is None:
        return Verdict(message)
    return Verdict(message, fault_of_schema(schema, message, parser_limits()))


def _compiled(spec: ConstraintSpec, compiler: Compiler) -> Verdict:
    try:
        compiler.compile(spec)
    except RequestError as error:
        return Verdict(error.hint)
    return Verdict()


def _limit_time() -> None:
    """Ends this process if the next grammar takes far too long, should its parent no longer be there to do so."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _MAX_SECONDS, resource.RLIM_INFINITY))


def _answer(verdict: Verdict) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    sys.stdout.buffer.flush()
