"""`Compiler`: a ConstraintSpec and the vocabulary become a `Constraint`. Owned by `compile_pool.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from weft.errors import RequestError
from weft.grammar.constraint import Constraint, ConstraintError
from weft.grammar.cutter import Cutter
from weft.grammar.form import ConstraintSpec
from weft.grammar.limits import parser_limits
from weft.grammar.reasoning import behind_reasoning
from weft.grammar.schema_fault import first_line
from weft.grammar.vocabulary import Vocabulary


class Compiler:
    """Compiles grammars for one vocabulary. Making it takes most of a second for 150,000 tokens, in two parts during
    which no other thread of the process runs Python.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        source = _Source(vocabulary)
        self._num_words = (len(source.tokens) + 31) // 32
        self._limits = parser_limits()
        self._special = {source.tokens[i].decode(errors="replace"): i for i in source.special_token_ids}
        self._tokenizer = LLTokenizer(source, eos_token=source.eos_token_ids)  # pyright: ignore[reportArgumentType]  # by its attributes
        source.greedy = self._tokenizer.greedy_tokenize

    def compile(self, spec: ConstraintSpec) -> Constraint:
        """The constraint before the first token, whose mask is there. RequestError names the field of a bad grammar."""
        grammar = spec.grammar if spec.reasoning is None else behind_reasoning(
            spec.grammar, spec.reasoning, self._special)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise RequestError(spec.field, spec.noun, expected="one that can be compiled",
                               hint=f"{first_line(matcher.get_error()).rstrip('.')}.")
        constraint = Constraint(matcher, self._num_words)
        try:
            constraint.fill(np.zeros(self._num_words, np.uint32))
        except ConstraintError as error:
            raise RequestError(spec.field, spec.noun, expected="one whose next tokens can be found in time",
                               hint=f"{error}.") from error
        return constraint


class _Source:
    """A vocabulary in the form that LLTokenizer reads: attributes, and a call that cuts text into tokens."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    greedy: Any

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = vocabulary.tokens()
        self.eos_token_ids = list(vocabulary.eos_token_ids)
        self.special_token_ids = [*vocabulary.special_ids, *self.eos_token_ids]      # an end is no text, however marked
        self._cutter = Cutter(vocabulary.pipeline, self.tokens, self.special_token_ids) if vocabulary.pipeline else None
        if not self.eos_token_ids:      # llguidance needs one: an id that no model has
            self.eos_token_ids = [len(self.tokens)]
            self.special_token_ids.append(len(self.tokens))
            self.tokens.append(b"<end>")
        self.eos_token_id = self.eos_token_ids[0]

    def __call__(self, text: str) -> list[int]:
        found = [] if self._cutter is None else self._cutter.cut(text)
        return found or self.greedy(text)
