"""Where the form of an answer begins: at the first token, or where the answer's reasoning ends.

A chat says so itself (`behind_reasoning`, and the server's turns); for any other prompt `FormStart` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from weft.errors import RequestError
from weft.sampling_params import SamplingParams
from weft.structured_outputs import ReasoningPart, StructuredOutputsParams
from weft.text.messages import text_of
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.parsers import reasoning_of
from weft.text.tokenizer import Tokenizer

_TAIL_TOKENS = 16      # of a prompt: more than any mark of reasoning


def behind_reasoning(params: Any, prompt: str | Sequence[int], last_message: Mapping[str, Any], tokenizer: Tokenizer, *,
                     name: str | None, continues: bool) -> Any:
    """A copy of `params` whose form stands behind the reasoning of the format `name`; `params` themselves if they have
    no form.

    name: None: what the tokenizer's chat template tells. prompt: the rendered chat. continues: the answer goes on with
    the last message.
    """
    if not isinstance(params, SamplingParams) or params.structured_outputs is None:
        return params
    end = prompt if isinstance(prompt, str) else tokenizer.decode(prompt[-_TAIL_TOKENS:], skip_special_tokens=False)
    part = reasoning_of(tokenizer, name).before_form(
        ParseRequest(prompt=end, continued=text_of(last_message) if continues else None))
    return replace(params, structured_outputs=replace(params.structured_outputs, reasoning=part))


class FormStart:
    """Decides for one engine where forms begin whose request has not said so.

    name: of the format, which the user gave the engine; None: none, so that forms begin at the first token.
    enable_in_reasoning: they do in any case. ConfigError for an unknown name.
    """

    def __init__(self, name: str | None, tokenizer: Tokenizer | None, *, enable_in_reasoning: bool) -> None:
        found = None if not name or tokenizer is None else reasoning_of(tokenizer, name)
        self._parsers, self._tokenizer = (None if enable_in_reasoning else found), tokenizer

    def of(self, params: SamplingParams, form: StructuredOutputsParams, prompt_token_ids: Sequence[int]
           ) -> StructuredOutputsParams:
        """`form`, which `params` have, with its `reasoning` by the end of the prompt.

        RequestError for a budget of reasoning where the form begins at once.
        """
        if form.reasoning is UNSET:
            form = replace(form, reasoning=self._before(prompt_token_ids))
        if params.reasoning_budget is not None and form.reasoning is None:
            raise RequestError("reasoning_budget", params.reasoning_budget,
                               expected="None beside a form that begins with the answer",
                               hint="With reasoning_parser forms begin behind the reasoning.")
        return form

    def _before(self, prompt_token_ids: Sequence[int]) -> ReasoningPart | None:
        if self._parsers is None or self._tokenizer is None:
            return None
        end = self._tokenizer.decode(list(prompt_token_ids[-_TAIL_TOKENS:]), skip_special_tokens=False)
        return self._parsers.before_form(ParseRequest(prompt=end))
