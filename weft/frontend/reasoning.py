"""`behind_reasoning`: a chat's parameters whose form begins where the answer's reasoning ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from weft.sampling_params import SamplingParams
from weft.text.messages import text_of
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.parsers import reasoning_of
from weft.text.tokenizer import Tokenizer

_TAIL_TOKENS = 16      # of a prompt: more than any mark of reasoning


def behind_reasoning(params: Any, prompt: str | Sequence[int], last_message: Mapping[str, Any], tokenizer: Tokenizer, *,
                     continues: bool) -> Any:
    """A copy of `params` whose form stands behind the reasoning that the tokenizer's chat template tells; `params`
    themselves if they have no form.

    prompt: the rendered chat. continues: the answer goes on with the last message.
    """
    if not isinstance(params, SamplingParams) or params.structured_outputs is None:
        return params
    end = prompt if isinstance(prompt, str) else tokenizer.decode(prompt[-_TAIL_TOKENS:], skip_special_tokens=False)
    part = reasoning_of(tokenizer).before_form(
        ParseRequest(prompt=end, continued=text_of(last_message) if continues else None))
    return replace(params, structured_outputs=replace(params.structured_outputs, reasoning=part))
