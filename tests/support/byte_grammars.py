"""Grammars over a vocabulary of bytes: which texts an answer may be."""

from __future__ import annotations

import numpy as np

from weft.grammar.compile_pool import refusal
from weft.grammar.compiler import Compiler
from weft.grammar.constraint import Constraint
from weft.grammar.read import read_constraint
from weft.grammar.trial_process import judge
from weft.grammar.vocabulary import pack_vocabulary
from weft.structured_outputs import StructuredOutputsParams

EOS = 256
VOCABULARY = pack_vocabulary([bytes([i]) for i in range(256)] + [b"<end>"], special_ids=[EOS], eos_token_ids=[EOS])
COMPILER = Compiler(VOCABULARY)


def constraint_of(params: StructuredOutputsParams) -> Constraint:
    spec = read_constraint(params)
    verdict = judge(spec.grammar)      # in this process: tests have no hostile grammars
    if verdict is not None:
        raise refusal(spec, verdict)
    return COMPILER.compile(spec)


def next_ids(constraint: Constraint) -> set[int]:
    """The tokens that may come next."""
    row = np.zeros(constraint.num_words, np.uint32)
    constraint.fill(row)
    return allowed_ids(row)


def allowed_ids(row: np.ndarray) -> set[int]:
    """The token ids whose bits are set in a row of `Constraint.fill`."""
    return {token_id for token_id in range(32 * len(row)) if int(row[token_id // 32]) >> token_id % 32 & 1}


def takes(params: StructuredOutputsParams, text: str) -> bool:
    """Whether `text` is a whole answer: each of its bytes is allowed, and the end after them."""
    constraint = constraint_of(params)
    for byte in text.encode():
        if byte not in next_ids(constraint):
            return False
        constraint.accept(byte)
    return EOS in next_ids(constraint)
