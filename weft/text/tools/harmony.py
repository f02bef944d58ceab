"""`HarmonyMachine`: answers of gpt-oss, which are messages with a channel: analysis, commentary or final.

Source: OpenAI's description of the harmony format. Analysis is reasoning; final, and commentary to nobody, are content;
a message to functions.NAME is a call. Messages to tools that are built into the model are reasoning.
"""

from __future__ import annotations

import re

from weft.text.parsing.machine import Say, Steps, marks
from weft.text.tools.calls import CallMachine, NewId, random_id
from weft.text.tools.types import ToolTypes

START, CHANNEL, MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
ENDS = ("<|end|>", "<|call|>", "<|return|>")
MARKS = (START, CHANNEL, MESSAGE, "<|constrain|>", *ENDS)      # of the format: special tokens of its tokenizer

_CHANNEL_NAME = re.compile(re.escape(CHANNEL) + r"\s*(\w+)")
_RECIPIENT = re.compile(r"to=([^\s<]+)")
_FUNCTIONS = "functions."


class HarmonyMachine(CallMachine):
    """Parses one answer. The prompt ends with the start of the assistant's message, so a header comes first."""

    def __init__(self, tools: ToolTypes, new_id: NewId = random_id) -> None:
        super().__init__(tools.names, new_id)

    def run(self) -> Steps[None]:
        """See `Machine`."""
        self._told: set[Say] = set()
        mark = MESSAGE if not (yield from self._begins_with_header()) else ""
        header: list[str] = []
        while True:
            if mark != MESSAGE:
                header = []
                mark = yield from self.text_until(marks(MESSAGE, *ENDS), header.append)
            if not mark:
                return
            if mark == MESSAGE:
                mark = yield from self._message("".join(header))
                if mark == CHANNEL:                  # the model left out end and start
                    self.unread(mark)

    def _begins_with_header(self) -> Steps[bool]:
        """False where an answer is text alone, because its special tokens were left out."""
        self.hold("")
        first = yield from self.space()
        self.unread(first)
        self.give_back()
        if first == "<":
            return True
        found = yield from self.expect("to=")
        if found:
            self.unread("to=")
        return found

    def _message(self, header: str) -> Steps[str]:
        """Reads a message. Returns the mark behind it, "" at the end of the text."""
        channel, recipient = _CHANNEL_NAME.search(header), _RECIPIENT.search(header)
        name = self._tool(recipient[1]) if recipient else None
        ends = marks(START, CHANNEL, *ENDS)
        if name is not None and self.start(name):
            is_empty = True

            def argue(text: str) -> None:
                nonlocal is_empty
                is_empty = False
                self.argue(text)

            mark = yield from self.text_until(ends, argue)
            if is_empty and mark:
                self.argue("{}")
            return mark
        is_reasoning = recipient is not None or (channel is not None and channel[1] == "analysis")
        begin = self.num_read
        mark = yield from self.text_until(ends, self._lines(is_reasoning))
        if is_reasoning:
            self.reasoning_spans.append((begin, self.num_read))
        return mark

    def _tool(self, recipient: str) -> str | None:
        """The request's tool that a message goes to, if any."""
        if self.names is not None and recipient in self.names:
            return recipient
        is_function = recipient.startswith(_FUNCTIONS) and (self.names is None or self.names)
        return recipient.removeprefix(_FUNCTIONS) if is_function else None

    def _lines(self, is_reasoning: bool) -> Say:
        """Where a message's text goes; a newline parts it from a message before it."""
        kind = self.reasoning if is_reasoning else self.content
        is_first = True

        def say(text: str) -> None:
            nonlocal is_first
            if is_first and kind in self._told:
                kind("\n")
            is_first = False
            self._told.add(kind)
            kind(text)

        return say
