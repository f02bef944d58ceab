"""The process of a `Trial`: reads grammars from its standard input, compiles each, and answers with a Verdict a line.

It has no vocabulary: nearly all of the work does not depend on one. It ends with its input, and is killed when it is
late. Its memory is limited.
"""

from __future__ import annotations

import resource
import sys

import msgspec
from llguidance import LLMatcher

from weft.grammar.limits import parser_limits
from weft.grammar.schema_fault import fault_of_schema, first_line, schema_of
from weft.grammar.trial import Verdict

_MAX_BYTES = 2 << 30      # of address space
_MAX_SECONDS = 30         # of processor time for a grammar; `Trial` gives it less


def main() -> None:
    """Judges grammars until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    _answer(Verdict())
    while size := sys.stdin.buffer.read(4):
        grammar = sys.stdin.buffer.read(int.from_bytes(size, "big")).decode()
        _limit_time()
        _answer(judge(grammar))


def judge(grammar: str) -> Verdict:
    """What is wrong with a grammar."""
    message = first_line(LLMatcher.validate_grammar(grammar, limits=parser_limits()))
    schema = schema_of(grammar) if message else None
    if schema is None:
        return Verdict(message)
    return Verdict(message, fault_of_schema(schema, message, parser_limits()))


def _limit_time() -> None:
    """Ends this process if the next grammar takes far too long, should its parent no longer be there to do so."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _MAX_SECONDS, resource.RLIM_INFINITY))


def _answer(verdict: Verdict) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    sys.stdout.buffer.flush()
