"""`Compiler`: a ConstraintSpec and the vocabulary become a `Constraint`. Owned by `engine/constraints.py`."""

from __future__ import annotations

from typing import Any

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from weft.errors import RequestError
from weft.grammar.constraint import Constraint
from weft.grammar.cutter import Cutter
from weft.grammar.form import ConstraintSpec
from weft.grammar.schema_fault import fault_of_schema, first_line
from weft.grammar.vocabulary import Vocabulary


class Compiler:
    """Compiles grammars for one vocabulary. Making it takes about a second for 150,000 tokens.

    Attributes:
        num_words: 32-bit words of a row of `Constraint.fill`.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        source = _Source(vocabulary)
        self.num_words = (len(source.tokens) + 31) // 32
        self._limits = LLParserLimits(verbose_errors=False)
        self._tokenizer = LLTokenizer(source, eos_token=source.eos_token_ids)  # pyright: ignore[reportArgumentType]  # by its attributes
        source.greedy = self._tokenizer.greedy_tokenize

    def compile(self, spec: ConstraintSpec) -> Constraint:
        """The constraint before the first token. RequestError names the field of a grammar that cannot be used."""
        matcher = LLMatcher(self._tokenizer, spec.grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise self._error(spec, first_line(matcher.get_error()))
        return Constraint(matcher, self.num_words)

    def _error(self, spec: ConstraintSpec, message: str) -> RequestError:
        schema = _schema_of(spec)
        place = "a grammar" if schema is None else fault_of_schema(schema, message, self._limits)
        return RequestError(spec.field, place, expected="one that can be compiled" if schema is None else
                            "a schema that a grammar can enforce", hint=f"{message.rstrip('.')}.")


def _schema_of(spec: ConstraintSpec) -> Any:
    """The JSON schema of a grammar that is nothing else; None for other grammars."""
    try:
        return msgspec.json.decode(spec.grammar)["grammars"][0].get("json_schema")
    except (msgspec.DecodeError, TypeError, KeyError, IndexError, AttributeError):
        return None


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
