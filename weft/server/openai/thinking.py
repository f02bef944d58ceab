"""`thinking_token_budget`: the tokens of the marks by which the engine ends an answer's reasoning."""

from __future__ import annotations

from weft.reasoning_budget import ReasoningBudget
from weft.sampling_params import MAX_COUNT, SamplingParams
from weft.server.errors import bad_field
from weft.text.parsing.kind import ParseRequest, ParserKind
from weft.text.reasoning.reasoning_format import Opening, ReasoningFormat
from weft.text.tokenizer import Tokenizer

_FIELD = "thinking_token_budget"


def reasoning_budget(max_tokens: int | None, kind: ParserKind | None, params: SamplingParams,
                     request: ParseRequest) -> ReasoningBudget | None:
    """The budget of `max_tokens`; None if there is none, or no reasoning, because the prompt has ended it.

    ApiError 400 for a wrong number, beside a form that holds within the reasoning, and where the marks of the reasoning
    are unknown.
    """
    if max_tokens is None or max_tokens == -1:
        return None
    if not 0 <= max_tokens <= MAX_COUNT:
        raise bad_field(_FIELD, max_tokens, expected=f"-1, or an integer from 0 to {MAX_COUNT}")
    if not isinstance(kind, ReasoningFormat):
        raise bad_field(_FIELD, max_tokens, expected="null or -1: the marks of this model's reasoning are unknown",
                        hint="Start the server with --reasoning-parser NAME, one of weft's own formats.")
    opening = kind.opening(request.prompt, request.continued)
    if opening is Opening.CLOSED:
        return None
    if params.structured_outputs is not None and not params.structured_outputs.reasoning:
        raise bad_field(_FIELD, max_tokens, expected="null or -1 beside a form that holds from the first token",
                        hint="Start the server without --enable-in-reasoning.")
    return ReasoningBudget(
        max_tokens=max_tokens, start_token_ids=_ids(kind.starts[0], request.tokenizer),
        end_token_ids=_ids(kind.ends[0], request.tokenizer), is_open=opening is Opening.OPEN or kind.is_implied)


def _ids(mark: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a mark: the one that it is, or those of its text."""
    single = tokenizer.special_texts.get(mark)
    return tokenizer.encode(mark, add_special_tokens=False) if single is None else [single]
