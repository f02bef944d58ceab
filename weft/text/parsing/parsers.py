"""`Parsers`: the two parsers of a model's answers, chosen by name or found in its chat template."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from weft.structured_outputs import ReasoningPart
from weft.text.mistral_tokenizer import MistralTokenizer
from weft.text.parsing.chain import Chain
from weft.text.parsing.events import AnswerParser
from weft.text.parsing.kind import ParseRequest, ParserKind
from weft.text.parsing.registry import REASONING_PARSERS, TOOL_PARSERS, ParserRegistry
from weft.text.reasoning.reasoning_format import ReasoningFormat
from weft.text.tokenizer import Tokenizer
from weft.text.tools.tool_format import ToolFormat
from weft.text.vllm_parsers.adapter import VllmKind

logger = logging.getLogger("weft")


@dataclass(frozen=True, slots=True)
class Parsers:
    """The parsers of a model's answers; None: its answers have no such part, or nobody knows how it looks."""

    tools: ParserKind | None = None
    reasoning: ParserKind | None = None

    def make(self, request: ParseRequest, *, with_tools: bool) -> AnswerParser | None:
        """The parser of one answer; None if an answer is content alone.

        with_tools: whether the answer may call tools. Otherwise what looks like a call is text.
        """
        tools = self.tools if with_tools else None
        request = request if with_tools else replace(request, tools=())
        for kind in (tools, self.reasoning):
            if kind is not None and kind.is_whole:
                return kind.make(request)
        if tools is None and self.reasoning is None:
            return None
        return Chain(None if self.reasoning is None else self.reasoning.make(request),
                     None if tools is None else tools.make(request))

    def before_form(self, request: ParseRequest) -> ReasoningPart | None:
        """The reasoning that stands before a form of the answer; None: none, or nobody knows how it looks."""
        return self.reasoning.before_form(request) if isinstance(self.reasoning, ReasoningFormat) else None

    @property
    def read_bodies(self) -> bool:
        """True if a parser of others may look at `ParseRequest.body`."""
        return any(kind is not None and not isinstance(kind, ToolFormat | ReasoningFormat)
                   for kind in (self.tools, self.reasoning))

    def need_special_tokens(self, tokenizer: Tokenizer, *, with_tools: bool) -> bool:
        """True if the answer's text must keep its special tokens, because marks of these parsers are among them."""
        kinds = [kind for kind in (self.tools if with_tools else None, self.reasoning) if kind is not None]
        return any(has_special_marks(kind, tokenizer) for kind in kinds)


def has_special_marks(kind: ParserKind, tokenizer: Tokenizer) -> bool:
    """True if one of the kind's marks has a special token; of a kind that does not tell its marks, too."""
    if kind.all_marks is None:
        return True
    return any(text in mark for mark in kind.all_marks for text in tokenizer.special_texts)


def check_parser_names(*, tools: str | None = None, reasoning: str | None = None) -> None:
    """ConfigError for the name of a parser that is not registered. Cheap: for before a model is loaded."""
    for registry, name in ((TOOL_PARSERS, tools), (REASONING_PARSERS, reasoning)):
        if name:
            registry.find(name)


def choose_parsers(tokenizer: Tokenizer | None, *, tools: str | None, reasoning: str | None) -> Parsers:
    """The parsers of these names; where a name is None, what the chat template tells, with a notice in the log.

    ConfigError for an unknown name.
    """
    chosen = Parsers(_chosen(TOOL_PARSERS, tools, tokenizer), _chosen(REASONING_PARSERS, reasoning, tokenizer))
    for kind in (chosen.tools, chosen.reasoning):
        if isinstance(kind, VllmKind) and tokenizer is not None:
            kind.prepare(tokenizer)
    return chosen


def reasoning_of(tokenizer: Tokenizer, name: str | None) -> Parsers:
    """The parser of reasoning of this name, alone; None: the one that the tokenizer tells. ConfigError for an unknown
    name.
    """
    return Parsers(reasoning=REASONING_PARSERS.find(name) if name else _told(REASONING_PARSERS, tokenizer))


def _chosen(registry: ParserRegistry, name: str | None, tokenizer: Tokenizer | None) -> ParserKind | None:
    if name:
        return registry.find(name)
    found = None if tokenizer is None else _told(registry, tokenizer)
    if found is not None and tokenizer is not None:
        logger.info("%s: %s, because of the %s; --%s chooses another, or none", registry.option, found.name,
                    "tokenizer" if _is_mistral(tokenizer) else "chat template", registry.option.replace("_", "-"))
    return found


def _told(registry: ParserRegistry, tokenizer: Tokenizer) -> ParserKind | None:
    """The format that a tokenizer's kind or its chat templates tell."""
    if _is_mistral(tokenizer):
        return registry.find("mistral")
    return registry.of_template("\n".join(tokenizer.chat_templates.values()))


def _is_mistral(tokenizer: Tokenizer) -> bool:
    return isinstance(tokenizer.source, MistralTokenizer)
