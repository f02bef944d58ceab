"""`ParserKind`: what makes the parsers of one format, and `ParseRequest`, which tells it about the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from weft.text.parsing.events import AnswerParser


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseRequest:
    """What a parser may need to know of a request.

    tools: as in the request. None: any name may be a tool's.
    prompt: the prompt's text, or its end: it says whether the prompt began the reasoning.
    continued: the text of the message that the answer goes on with; None: the answer is a new message.
    prompt_token_ids: the prompt.
    is_streamed: whether the answer comes in pieces, rather than as a whole.
    body: the request as its client sent it, for parsers of others; may be {} where there are none.
    tokenizer: the model's `Tokenizer`, for parsers of others.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    prompt: str = ""
    continued: str | None = None
    prompt_token_ids: Sequence[int] = ()
    is_streamed: bool = True
    body: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Any = None


class ParserKind(Protocol):
    """Makes the parsers of one format of tool calls, or of reasoning."""

    @property
    def name(self) -> str:
        """The name that users choose it by."""
        ...

    @property
    def is_whole(self) -> bool:
        """True if its parsers find reasoning and tool calls, so that no other parser is needed."""
        ...

    @property
    def all_marks(self) -> frozenset[str] | None:
        """Texts that must stay in the answer, also where they are special tokens; None: all special tokens."""
        ...

    def make(self, request: ParseRequest, /) -> AnswerParser:
        """A parser for one answer."""
        ...
