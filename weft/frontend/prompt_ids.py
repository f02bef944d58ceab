"""`PromptIds`: a prompt's token ids, the encoder's and the decoder's apart, and where they go.

`inputs.py` makes them of a `Prompt`. The module knows no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from weft.engine.process.messages import NO_TOKEN, MediaInput, WireTensor
from weft.errors import RequestError
from weft.sampling_params import SamplingParams
from weft.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class PromptIds:
    """A prompt as text, as far as the user gave it, and as token ids.

    encoder, encoder_text: of a model with an encoder; then `ids` and `text` are the decoder's, and `forced` are its
        first generated tokens, `last` the one at the end of max_tokens. media: `ids` have places for their rows.
    rows: of a model that hears, what its encoder is given in the place of ids.
    """

    text: str | None
    ids: list[int]
    encoder_text: str | None = None
    encoder: list[int] | None = None
    forced: list[int] = field(default_factory=list)
    last: int | None = None
    media: list[MediaInput] = field(default_factory=list)
    rows: WireTensor | None = None

    @property
    def for_engine(self) -> dict[str, Any]:
        """Fields of an EngineRequest."""
        encoder = self.encoder if self.rows is None else [NO_TOKEN] * self.rows.shape[0]
        pair = {} if encoder is None else {"encoder_token_ids": encoder, "encoder_rows": self.rows,
                                           "forced_token_ids": self.forced, "last_token_id": self.last}
        return {"prompt_token_ids": self.ids, "media": self.media} | pair

    @property
    def for_output(self) -> dict[str, Any]:
        """Fields of a PreparedRequest or PreparedBeams."""
        return {"prompt": self.text, "prompt_token_ids": self.ids, "encoder_prompt": self.encoder_text,
                "encoder_prompt_token_ids": self.encoder}


def cut(token_ids: list[int], limit: int, side: str) -> list[int]:
    """At most `limit` ids. side: where the others are cut off, "left" or "right"."""
    return token_ids[:limit] if side == "right" else token_ids[-limit:]


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


def forced_bos(params: SamplingParams, default: int | None, tokenizer: Tokenizer | None, vocab_size: int, *,
               is_first: bool) -> int | None:
    """The token that an answer has to begin with: `forced_bos_token`, else the model's default; None: none.

    vocab_size: of the decoder. is_first: the decoder's prompt is its start token alone; else no token is forced.
    RequestError for a text that is no token, and for a forced token after a longer prompt.
    """
    wanted = params.forced_bos_token
    if wanted is None:
        return default if is_first else None
    if not is_first:
        raise RequestError("forced_bos_token", wanted, expected="None beside a decoder_prompt",
                           hint="Put the token at the beginning of decoder_prompt.")
    found = wanted if isinstance(wanted, int) else _token_id(wanted, tokenizer)
    if not 0 <= found < vocab_size:
        raise RequestError("forced_bos_token", wanted, expected=f"a token id from 0 to {vocab_size - 1}")
    return found


def _token_id(text: str, tokenizer: Tokenizer | None) -> int:
    if tokenizer is None:
        raise RequestError("forced_bos_token", text, expected="a token id, because the engine has no tokenizer")
    if text in tokenizer.special_texts:
        return tokenizer.special_texts[text]
    found = tokenizer.encode(text, add_special_tokens=False)
    if len(found) != 1:
        raise RequestError("forced_bos_token", text, expected="the text of one token",
                           hint=f"The tokenizer makes {len(found)} tokens of it.")
    return found[0]


def refuse_forced_bos(params: SamplingParams, architecture: str) -> None:
    """RequestError for `forced_bos_token` of a model without an encoder."""
    if params.forced_bos_token is not None:
        raise RequestError("forced_bos_token", params.forced_bos_token, expected="None",
                           hint=f"{architecture} has no encoder: its answer goes on from the prompt.")


def refuse_ids_params(params: SamplingParams) -> None:
    """RequestError for parameters that need the prompt's token ids, which are unknown with prompt_embeds."""
    for name, off in (("prompt_logprobs", None), ("repetition_penalty", 1.0), ("truncate_prompt_tokens", None)):
        if getattr(params, name) != off:
            raise RequestError(name, getattr(params, name), expected=f"{off} with prompt_embeds",
                               hint="It needs the prompt's token ids.")
