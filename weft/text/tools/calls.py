"""`CallMachine`: what the parsers of all formats of tool calls share: numbers, ids and names of calls, white space.

White space before, between and behind calls is left out; everywhere else content is the model's text, unchanged.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection

from weft.text.parsing.events import CallStart, Event
from weft.text.parsing.machine import Machine
from weft.text.parsing.trimmed import Trimmed

NewId = Callable[[str, int], str]


def random_id(name: str, index: int) -> str:
    """An id as OpenAI's look like."""
    return "call_" + secrets.token_hex(12)


def kimi_id(name: str, index: int) -> str:
    """The id that Kimi's models give their calls themselves."""
    return f"functions.{name}:{index}"


def mistral_id(name: str, index: int) -> str:
    """An id of nine letters and digits: Mistral's templates refuse others."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(9))


class CallMachine(Machine):
    """A machine that finds tool calls.

    names: the request's tools; None: any. needs_known_name: a call is one only if its tool is among them, because
    without a mark before it text of the same form may be content.
    """

    def __init__(self, names: Collection[str] | None, new_id: NewId) -> None:
        self.num_calls = 0
        self.needs_known_name = False
        self.names, self._new_id = names, new_id
        self._content = Trimmed(super().content)
        super().__init__()

    def content(self, text: str) -> None:
        """Tell content. White space at its end waits for what follows."""
        self._content.say(text)

    def give_back_space(self) -> None:
        """Of the text that was kept, white space is content, and the rest is left out."""
        self.content("".join(char for char in self.drop() if char.isspace()))

    def drop_space(self) -> None:
        """White space that waits is the format's."""
        self._content.drop()

    def finish(self) -> list[Event]:
        """See `AnswerParser`."""
        events = super().finish()
        if not self.num_calls:
            self._content.flush()
        return [*events, *self._take()]

    def start(self, name: str, call_id: str | None = None) -> bool:
        """Begin the next call, and drop the text that was kept. False, and nothing changes, if this is no call."""
        if not name or (self.needs_known_name and self.names is not None and name not in self.names):
            return False
        self.drop()
        self.drop_space()
        self.call_start(CallStart(self.num_calls, call_id or self._new_id(name, self.num_calls), name))
        self.num_calls += 1
        return True

    def argue(self, text: str) -> None:
        """Tell a piece of the last call's arguments."""
        self.arguments(self.num_calls - 1, text)
