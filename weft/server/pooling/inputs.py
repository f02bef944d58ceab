"""The texts of a pooling request: `input` in its shapes, or one conversation. Knows no engine and no answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weft.server.errors import ApiError, bad_field
from weft.server.openai.prompts import render
from weft.server.pooling.schemas import TextsBody
from weft.server.served import ServedModel

MAX_INPUTS = 16384
_SHAPES = "a text, a list of token ids, or a list of these"

Prompt = str | list[int]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Prompts of one request. places: each one's path in the body, for errors.

    add_special_tokens: whether the tokenizer puts its own tokens around texts.
    """

    prompts: Sequence[Any]
    places: Sequence[str]
    add_special_tokens: bool = True


async def inputs_of(served: ServedModel, body: TextsBody) -> Inputs:
    """The prompts of `body`. ApiError 400 names a wrong one by its path."""
    if (body.input is None) == (body.messages is None):
        raise ApiError(400, "Give either input or messages.", "input")
    special = body.add_special_tokens
    if body.messages is not None:
        prompt = await render(served, body)
        return Inputs([prompt], ["messages"], bool(special))
    for name in ("chat_template", "chat_template_kwargs"):
        if getattr(body, name):
            raise bad_field(name, getattr(body, name), expected="none with input", hint="It is for messages.")
    prompts = prompts_of("input", body.input)
    places = ["input"] if prompts == [body.input] else [f"input.{i}" for i in range(len(prompts))]
    return Inputs(prompts, places, special is None or special)


def prompts_of(field: str, value: Any) -> list[Prompt]:
    """The list of prompts in `field`. ApiError 400 for another shape, for none, for too many, and for empty ones."""
    if isinstance(value, str) or (isinstance(value, list) and value and all(type(item) is int for item in value)):
        return [_not_empty(field, value)]
    if not isinstance(value, list) or not value:
        raise bad_field(field, value, expected=f"{_SHAPES}, not empty")
    check_count(field, len(value))
    for i, item in enumerate(value):
        if not isinstance(item, str) and not (isinstance(item, list) and all(type(part) is int for part in item)):
            raise bad_field(f"{field}.{i}", item, expected="a text or a list of token ids")
        _not_empty(f"{field}.{i}", item)
    return value


def check_count(field: str, count: int) -> None:
    """ApiError 400 for more texts than one request may have."""
    if count > MAX_INPUTS:
        raise bad_field(field, f"{count} entries", expected=f"up to {MAX_INPUTS} entries",
                        hint="Send several requests.")


def _not_empty(field: str, prompt: Prompt) -> Prompt:
    if not prompt:
        raise bad_field(field, prompt, expected="a text or a list of token ids that is not empty")
    return prompt
