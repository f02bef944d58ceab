"""`Vocabulary`: the bytes of each token, as plain data. It crosses to the engine's process, which knows no text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a model as bytes.

    data: the bytes of all tokens, one after another. ends: where each token ends in it, uint32, as bytes. A token
        without bytes never appears in a constrained answer.
    special_ids: tokens that stand for no text, such as the end of a turn.
    eos_token_ids: tokens that end an answer.
    pipeline: the tokenizer as JSON of the `tokenizers` package; "" if it has none. Text that a grammar forces is cut
        into the tokens that the model would have read.
    """

    data: bytes
    ends: bytes
    special_ids: list[int]
    eos_token_ids: list[int]
    pipeline: str = ""

    @property
    def num_tokens(self) -> int:
        """V, the number of token ids."""
        return len(self.ends) // 4

    def tokens(self) -> list[bytes]:
        """The bytes of each token."""
        ends = np.frombuffer(self.ends, np.uint32).tolist()
        return [self.data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def pack_vocabulary(tokens: Sequence[bytes], *, special_ids: Sequence[int], eos_token_ids: Sequence[int],
                    pipeline: str = "") -> Vocabulary:
    """A Vocabulary of these tokens."""
    ends = np.cumsum([len(token) for token in tokens], dtype=np.uint32)
    return Vocabulary(data=b"".join(tokens), ends=ends.tobytes(), special_ids=list(special_ids),
                      eos_token_ids=list(eos_token_ids), pipeline=pipeline)
