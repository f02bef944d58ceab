"""`vocabulary_of`: the bytes of a tokenizer's tokens, for the engine's grammars (`weft/grammar`)."""

from __future__ import annotations

from collections.abc import Sequence

from weft.errors import NotBuiltError
from weft.grammar.vocabulary import Vocabulary, pack_vocabulary
from weft.structured_outputs import FIELD
from weft.text.pieces import Kind
from weft.text.tokenizer import Tokenizer


def vocabulary_of(tokenizer: Tokenizer, *, vocab_size: int, eos_token_ids: Sequence[int]) -> Vocabulary:
    """The tokens of a model with `vocab_size` ids, as bytes. Takes a second for 150,000 tokens.

    NotBuiltError if the text of a token depends on its neighbours, so that a token has no bytes of its own.
    """
    pieces = tokenizer.pieces
    if pieces.kind is Kind.WINDOW or tokenizer.cleans_up:
        raise NotBuiltError(FIELD, "a form", expected="None with this model's tokenizer",
                            hint="What its tokens add to a text depends on their neighbours.")
    special = sorted(i for i in tokenizer.special_ids if i < vocab_size)
    return pack_vocabulary([pieces.bytes(token_id) for token_id in range(vocab_size)], special_ids=special,
                           eos_token_ids=eos_token_ids, pipeline=tokenizer.pipeline)
