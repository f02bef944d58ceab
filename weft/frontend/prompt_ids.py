"""`PromptIds`: a prompt's token ids, the encoder's and the decoder's apart, and where they go.

`inputs.py` makes them of a `Prompt`. The module knows no tokenizer and no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from weft.engine.process.messages import MediaInput
from weft.errors import RequestError


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt as text, as far as the user gave it, and as token ids.

    encoder, encoder_text: of a model with an encoder; then `ids` and `text` are the decoder's, and `forced` are its
        first generated tokens, `last` the one at the end of max_tokens. media: `ids` have places for their rows.
    """

    text: str | None
    ids: list[int]
    encoder_text: str | None = None
    encoder: list[int] | None = None
    forced: list[int] = field(default_factory=list)
    last: int | None = None
    media: list[MediaInput] = field(default_factory=list)

    @property
    def for_engine(self) -> dict[str, Any]:
        """Fields of an EngineRequest."""
        pair = {} if self.encoder is None else {
            "encoder_token_ids": self.encoder, "forced_token_ids": self.forced, "last_token_id": self.last}
        return {"prompt_token_ids": self.ids, "media": self.media} | pair

    @property
    def for_output(self) -> dict[str, Any]:
        """Fields of a PreparedRequest or PreparedBeams."""
        return {"prompt": self.text, "prompt_token_ids": self.ids, "encoder_prompt": self.encoder_text,
                "encoder_prompt_token_ids": self.encoder}


@contextmanager
def named(name: str) -> Iterator[None]:
    """Errors about one prompt of a pair name it."""
    try:
        yield
    except RequestError as error:
        if name == "prompt":
            raise
        raise RequestError(name + error.field.removeprefix("prompt").removeprefix("_token_ids"), error.value,
                           expected=error.expected, hint=error.hint) from error
