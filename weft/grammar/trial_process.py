"""`judging`: the work of a `Trial`'s process, which compiles each spec and answers with a Verdict.

It does all that the engine does before an answer's first token, with the same vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from llguidance import LLMatcher

from weft.errors import RequestError
from weft.grammar.compiler import Compiler
from weft.grammar.form import ConstraintSpec
from weft.grammar.limits import parser_limits
from weft.grammar.schema_fault import fault_of_schema, first_line, schema_of
from weft.grammar.trial import Verdict
from weft.grammar.vocabulary import Vocabulary


def judging(vocabulary: bytes) -> Callable[[bytes], bytes]:
    """From a ConstraintSpec to its Verdict, all in msgpack."""
    compiler = Compiler(msgspec.msgpack.decode(vocabulary, type=Vocabulary))

    def verdict(body: bytes) -> bytes:
        spec = msgspec.msgpack.decode(body, type=ConstraintSpec)
        return msgspec.msgpack.encode(judge(spec.grammar) or _compiled(spec, compiler))

    return verdict


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
