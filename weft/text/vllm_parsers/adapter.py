"""Runs parsers that are written for vLLM: a `ParserKind` of each of their classes.

A whole answer goes to the method for whole answers, because many such parsers stream worse than they parse. Where
such a parser fails, the answer is still an answer: the text that it failed at, and what follows, is content.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from weft.text.parsing.events import AnswerParser, CallArguments, CallStart, Content, Event, Reasoning
from weft.text.parsing.kind import ParseRequest
from weft.text.tokenizer import Tokenizer
from weft.text.tools.calls import random_id
from weft.text.vllm_parsers.bases import ReasoningParser, ToolParser
from weft.text.vllm_parsers.messages import ChatCompletionRequest, DeltaMessage

logger = logging.getLogger("weft")


class VllmKind:
    """The parsers of a class that is written for vLLM. load: gives the class. make_parser: a parser of it."""

    def __init__(self, name: str, load: Callable[[], type], make_parser: Callable[[type, ParseRequest], AnswerParser],
                 ) -> None:
        self.name, self.load, self._make_parser = name, load, make_parser
        self.is_whole, self.all_marks = False, None

    def prepare(self, tokenizer: Tokenizer) -> None:
        """Import the class and the tokenizer of transformers, which takes seconds, before the first answer."""
        self.load()
        _ = tokenizer.hf

    def make(self, request: ParseRequest) -> AnswerParser:
        """See `ParserKind`."""
        return self._make_parser(self.load(), request)


_Seen = tuple[str, str, str, list[int], list[int], list[int]]


class _Text:
    """An answer's text and tokens up to now, in the arguments that methods of vLLM's parsers take."""

    def __init__(self) -> None:
        self.text, self.token_ids = "", []

    def add(self, text: str, token_ids: Sequence[int]) -> _Seen:
        """(text before, text now, new text, tokens before, tokens now, new tokens)."""
        before, ids_before = self.text, self.token_ids
        self.text, self.token_ids = before + text, [*ids_before, *token_ids]
        return before, self.text, text, ids_before, self.token_ids, list(token_ids)


class VllmToolCalls:
    """An `AnswerParser` around a `ToolParser`."""

    def __init__(self, cls: type[ToolParser], request: ParseRequest) -> None:
        self._request, self._is_streamed = _request(request), request.is_streamed
        tools = self._request.tools
        self._parser = cls(_tokenizer(request), tools) if _takes(cls, 2) else cls(_tokenizer(request))
        self._request = self._parser.adjust_request(self._request)
        self._seen, self._has_failed = _Text(), False
        self._numbers: dict[int, int] = {}           # the parser's index of a call -> its number here

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """See `AnswerParser`."""
        seen = self._seen.add(text, token_ids)
        if self._has_failed:
            return [Content(text)] if text else []
        return self._guarded(lambda: self._piece(seen), text) if self._is_streamed else []

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        if self._has_failed:
            return []
        return self._guarded(*((self._rest, "") if self._is_streamed else (self._whole, self._seen.text)))

    def _guarded(self, parse: Callable[[], list[Event]], text: str) -> list[Event]:
        try:
            return parse()
        except Exception as error:                   # of the user's code
            self._has_failed = True
            return _failed(self._parser, error, text)

    def _piece(self, seen: _Seen) -> list[Event]:
        delta = self._parser.extract_tool_calls_streaming(*seen, self._request)
        return [] if delta is None else self._events(delta)

    def _whole(self) -> list[Event]:
        text = self._seen.text
        found = self._parser.extract_tool_calls(text, self._request)
        if not found.tools_called:
            return [Content(found.content if found.content is not None else text)]
        events: list[Event] = [Content(found.content)] if found.content else []
        for number, call in enumerate(found.tool_calls):
            events += [CallStart(number, call.id, call.function.name), CallArguments(number, call.function.arguments)]
        return events

    def _events(self, delta: DeltaMessage) -> list[Event]:
        events = message_events(delta)
        for call in delta.tool_calls or ():
            function = call.function
            if function is not None and function.name and call.index not in self._numbers:
                number = self._numbers[call.index] = len(self._numbers)
                events.append(CallStart(number, call.id or random_id(function.name, number), function.name))
            if function is not None and function.arguments and call.index in self._numbers:
                events.append(CallArguments(self._numbers[call.index], function.arguments))
        return events

    def _rest(self) -> list[Event]:
        """The last call's arguments as far as the parser has not streamed them; vLLM's server sends them at the end."""
        calls, sent = self._parser.prev_tool_call_arr, self._parser.streamed_args_for_tool
        index = len(calls) - 1
        if index not in self._numbers or index >= len(sent) or "arguments" not in calls[index]:
            return []
        arguments = calls[index]["arguments"]
        whole = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        rest = whole.removeprefix(sent[index]) if whole.startswith(sent[index]) else ""
        return [CallArguments(self._numbers[index], rest)] if rest else []


class VllmReasoning:
    """An `AnswerParser` around a `ReasoningParser`."""

    def __init__(self, cls: type[ReasoningParser], request: ParseRequest) -> None:
        self._request, self._is_streamed = _request(request), request.is_streamed
        settings = {"chat_template_kwargs": request.body.get("chat_template_kwargs") or {}}
        self._parser = cls(_tokenizer(request), **(settings if _takes_settings(cls) else {}))
        self._is_over = self._parser.is_reasoning_end(list(request.prompt_token_ids))
        self._seen = _Text()

    def feed(self, text: str, token_ids: Sequence[int] = ()) -> list[Event]:
        """See `AnswerParser`."""
        if self._is_over:
            return [Content(text)] if text else []
        seen = self._seen.add(text, token_ids)
        if not self._is_streamed:
            return []
        try:
            delta = _newest(self._parser, "extract_reasoning_streaming", "extract_reasoning_content_streaming")(*seen)
            self._is_over = self._parser.is_reasoning_end_streaming(self._seen.token_ids, list(token_ids))
            return [] if delta is None else message_events(delta)
        except Exception as error:                   # of the user's code
            self._is_over = True
            return _failed(self._parser, error, text)

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        if self._is_streamed or self._is_over:
            return []
        try:
            reasoning, content = _newest(self._parser, "extract_reasoning", "extract_reasoning_content")(
                self._seen.text, self._request)
            return [*([Reasoning(reasoning)] if reasoning else []), *([Content(content)] if content else [])]
        except Exception as error:                   # of the user's code
            return _failed(self._parser, error, self._seen.text)


def _newest(parser: ReasoningParser, *names: str) -> Callable[..., Any]:
    """The method of the most derived class that has one of these names. Versions before 0.12 have the last name."""
    found = next(name for cls in type(parser).__mro__ for name in names if name in vars(cls))
    return getattr(parser, found)


def _failed(parser: object, error: Exception, text: str) -> list[Event]:
    """What an answer's text becomes where a parser failed at it."""
    logger.error("%s failed at an answer, whose text is content from there on: %s: %s", type(parser).__name__,
                 type(error).__name__, error)
    return [Content(text)] if text else []


def message_events(delta: DeltaMessage) -> list[Event]:
    """The reasoning and the content of a piece of an answer."""
    reasoning = delta.reasoning or delta.reasoning_content
    return [*([Reasoning(reasoning)] if reasoning else []), *([Content(delta.content)] if delta.content else [])]


def _request(request: ParseRequest) -> ChatCompletionRequest:
    return ChatCompletionRequest.model_validate({"tool_choice": "auto" if request.tools else "none", **request.body})


def _tokenizer(request: ParseRequest) -> Any:
    return None if request.tokenizer is None else request.tokenizer.hf


def _takes(cls: type, count: int) -> bool:
    """True if the class is made with `count` positional arguments."""
    try:
        inspect.signature(cls).bind(*[None] * count)
    except TypeError:
        return False
    return True


def _takes_settings(cls: type) -> bool:
    try:
        inspect.signature(cls).bind(None, chat_template_kwargs={})
    except TypeError:
        return False
    return True
