"""`EngineVocabulary`: the bytes of the tokens, which an engine needs before its first request with a form."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from weft.grammar.vocabulary import Vocabulary
from weft.text.tokenizer import Tokenizer
from weft.text.vocabulary import vocabulary_of


class EngineVocabulary:
    """Reads the vocabulary of one engine when it is first needed, and gives it once. Any thread may call `read`."""

    def __init__(self, *, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        self._vocab_size, self._eos_token_ids = vocab_size, eos_token_ids
        self._lock = threading.Lock()      # several threads may prepare first requests: one of them reads
        self._found: Vocabulary | None = None
        self._is_taken = False

    def read(self, tokenizer: Tokenizer) -> None:
        """Reads it, unless it has been read. NotBuiltError if tokens have no bytes of their own."""
        with self._lock:
            if self._found is None:
                self._found = vocabulary_of(tokenizer, vocab_size=self._vocab_size, eos_token_ids=self._eos_token_ids)

    def take(self) -> Vocabulary | None:
        """The vocabulary, for the engine; None if it has been taken, or not been read."""
        if self._found is None or self._is_taken:
            return None
        self._is_taken = True
        return self._found
