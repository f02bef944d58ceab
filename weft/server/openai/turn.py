"""`Turn`: one turn of a conversation, ready to run: its prompt is rendered and checked, its parameters are made.

`prepare_turn` makes it from a chat body. Other APIs with conversations translate their bodies into one, so that every
check is made here. A turn knows no shape of responses.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import Request
from msgspec.structs import replace

from weft.field_checks import MAX_COUNT
from weft.sampling_params import SamplingParams
from weft.server.errors import bad_field
from weft.server.openai.answer_parts import AnswerParts
from weft.server.openai.forced_calls import forced_form, forced_parser
from weft.server.openai.generation import Generation, sampling_params
from weft.server.openai.logprobs import TokenNames
from weft.server.openai.prompts import ChatPrompt, read_chat
from weft.server.openai.schemas import ChatBody, Parsed
from weft.server.openai.streaming import check_stream_options
from weft.server.openai.thinking import reasoning_budget
from weft.server.openai.tool_choice import Choice, ToolUse, read_tool_use
from weft.server.origin import origin_of
from weft.server.request_fields import priority_of, request_id_of, timeout_of
from weft.server.served import ServedModel
from weft.structured_outputs import FIELD
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.messages import text_of
from weft.text.parsing.chain import Chain
from weft.text.parsing.kind import ParseRequest
from weft.text.parsing.token_count import count_tokens

_TAIL_TOKENS, _TAIL_CHARS = 16, 256      # of a prompt: more than any mark of reasoning


@dataclass(slots=True)
class Turn:
    """One turn. role: the answer's role. echo: the text before it, for a continued message.

    tools: what the answer may call. parse_request: what the parsers of its answers know.
    """

    served: ServedModel
    body: ChatBody
    params: SamplingParams
    generation: Generation
    names: TokenNames
    response_id: str
    created: int
    role: str
    echo: str
    tools: ToolUse
    parse_request: ParseRequest

    def parts(self) -> AnswerParts:
        """What finds the parts of one of the turn's answers."""
        parser, parsers = forced_parser(self.tools), self.served.parsers
        if parser is None:
            parser = parsers.make(self.parse_request, with_tools=self.tools.is_free)
        elif _has_reasoning(self.params):
            parser = Chain(parsers.make(self.parse_request, with_tools=False), parser)
        return AnswerParts(parser, shows_reasoning=self.body.include_reasoning, may_repeat=self.tools.may_repeat,
                           names_calls=self.tools.choice is not Choice.NAMED)

    def num_reasoning_tokens(self, parts: Iterable[AnswerParts]) -> int | None:
        """The tokens of the reasoning of ended answers; None if the model's answers have none. Slow: for a thread."""
        tokenizer, params = self.served.engine.tokenizer, self.params
        if tokenizer is None or self.served.parsers.reasoning is None:
            return None
        return sum(count_tokens(IncrementalDetokenizer(
            tokenizer, self.parse_request.prompt_token_ids, skip_special_tokens=params.skip_special_tokens,
            spaces_between_special_tokens=params.spaces_between_special_tokens), part.token_ids, part.reasoning_spans)
            for part in parts)

    @property
    def num_top_logprobs(self) -> int:
        """Alternatives that are reported with each token; of given ids all, and the sampled one."""
        given = self.params.logprob_token_ids
        return (self.body.top_logprobs or 0) if given is None else len(given) + 1

    @property
    def model(self) -> str:
        """The model's name in responses."""
        return self.body.model or self.served.names[0]


async def prepare_turn(served: ServedModel, request: Request, parsed: Parsed[ChatBody], *,
                       prefix: str = "chatcmpl-", has_own_id: bool = False) -> Turn:
    """The turn that a chat body asks for. ApiError names a wrong field.

    prefix: of the response's id. has_own_id: the id is the server's own, which no client can choose or guess.
    """
    body, given = parsed.body, parsed.sampling
    check_stream_options(body.stream, body.stream_options, given.get("prompt_logprobs"))
    use = read_tool_use(body, served.parsers)
    form = forced_form(use, given, served.parsers, served.require_tokenizer())
    if form is not None:
        given = {**given, FIELD: form}
    if body.top_logprobs is not None and not body.logprobs:
        raise bad_field("top_logprobs", body.top_logprobs, expected="null unless logprobs is true")
    limit = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    max_tokens = getattr(body, limit)
    if max_tokens is not None and not 1 <= max_tokens <= MAX_COUNT:
        raise bad_field(limit, max_tokens, expected=f"an integer from 1 to {MAX_COUNT}")
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= MAX_COUNT:
        raise bad_field("top_logprobs", body.top_logprobs, expected=f"an integer from 0 to {MAX_COUNT}")
    num_top = body.top_logprobs if given.get("logprob_token_ids") else body.top_logprobs or 0
    params = sampling_params(served, given, max_tokens=max_tokens, prompt_logprobs=None, stream=body.stream,
                             logprobs=num_top if body.logprobs else None)
    shows_tools = not (use.choice is Choice.NONE and served.options.exclude_tools_when_tool_choice_none)
    prompt = await read_chat(served, body, "messages", add_special_tokens=body.add_special_tokens,
                             shows_tools=shows_tools, must_fit=params.truncate_prompt_tokens is None)
    role = served.options.response_role if body.add_generation_prompt else body.messages[-1].get("role", "assistant")
    is_shown = (body.echo or body.continue_final_message) and body.messages[-1].get("role") == role
    last = text_of(prompt.messages[-1]) if is_shown else ""
    parse_request = _parse_request(served, body, prompt, last if body.continue_final_message else None)
    if params.structured_outputs is not None:
        is_first = served.engine.config.model.enable_in_reasoning
        params.structured_outputs = replace(
            params.structured_outputs, reasoning=None if is_first else served.parsers.before_form(parse_request))
    if (not use.is_forced or _has_reasoning(params)) and served.need_special_tokens(with_tools=use.is_free):
        params.skip_special_tokens = False
    params.reasoning_budget = reasoning_budget(body.thinking_token_budget, served.parsers.reasoning, params,
                                               parse_request)
    response_id = prefix + (secrets.token_hex(24) if has_own_id else request_id_of(request, body.request_id))
    generation = Generation(
        served, [prompt.for_engine], params, response_id=response_id, origin=origin_of(request.scope),
        cache_salt=body.cache_salt, priority=priority_of(request, body.priority), places=["messages"],
        timeout=timeout_of(request, body.timeout), fields={"logprobs": "top_logprobs", "max_tokens": limit})
    as_ids = body.return_tokens_as_token_ids
    names = TokenNames(served.engine.tokenizer,
                       as_ids=served.options.return_tokens_as_token_ids if as_ids is None else as_ids)
    return Turn(served, body, params, generation, names, response_id, int(time.time()), role,
                last if body.echo else "", use, parse_request)


def _has_reasoning(params: SamplingParams) -> bool:
    """True if the answer's form comes behind its reasoning."""
    return params.structured_outputs is not None and params.structured_outputs.reasoning is not None


def _parse_request(served: ServedModel, body: ChatBody, prompt: ChatPrompt, continued: str | None) -> ParseRequest:
    tokenizer, text, token_ids = served.require_tokenizer(), prompt.rendered, prompt.token_ids
    if not isinstance(text, str):
        text = tokenizer.decode(token_ids[-_TAIL_TOKENS:], skip_special_tokens=False)
    return ParseRequest(tools=body.tools, prompt=text[-_TAIL_CHARS:], continued=continued, prompt_token_ids=token_ids,
                        is_streamed=body.stream, tokenizer=tokenizer,
                        body=body.model_dump(exclude_unset=True) if served.parsers.read_bodies else {})
