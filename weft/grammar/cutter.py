"""`Cutter`: cuts text that a grammar forces into tokens, as the model's tokenizer would."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tokenizers import Tokenizer as Pipeline

_MARK = "\x02"      # a character that tokenizers leave alone; what follows it is not at the beginning of a text


class Cutter:
    """Cuts bytes into tokens whose bytes are the same; [] where the tokenizer does otherwise.

    Tokenizers add a space at the beginning of a text, or replace characters. So each result is compared with the text.
    """

    def __init__(self, pipeline: str, tokens: Sequence[bytes], special_ids: Sequence[int]) -> None:
        self._pipeline = Pipeline.from_str(pipeline)
        self._tokens, self._special = tokens, frozenset(special_ids)
        self._lock = threading.Lock()      # a pipeline must not be used by two threads at once
        self._marks = len(self._pipeline.encode(_MARK, add_special_tokens=False).ids)

    def cut(self, text: str) -> list[int]:
        """The token ids of `text`, which stands inside another text."""
        with self._lock:
            plain = self._pipeline.encode(text, add_special_tokens=False).ids
            if self._fits(plain, text):
                return plain
            marked = self._pipeline.encode(_MARK + text, add_special_tokens=False).ids[self._marks :]
        return marked if self._fits(marked, text) else []

    def _fits(self, token_ids: list[int], text: str) -> bool:
        if not all(token_id < len(self._tokens) and token_id not in self._special for token_id in token_ids):
            return False
        return b"".join([self._tokens[token_id] for token_id in token_ids]) == text.encode()
