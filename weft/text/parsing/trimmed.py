"""`Trimmed`: passes text on, but for white space at its end, until it is known whether that is part of the text."""

from __future__ import annotations

from weft.text.parsing.machine import Say


class Trimmed:
    """Passes text to `say`. White space waits for what follows: `flush` passes it on, `drop` forgets it."""

    def __init__(self, say: Say) -> None:
        self._say, self._space = say, ""

    def say(self, text: str) -> None:
        """Pass on `text`, behind the white space that waited; its own last white space waits."""
        body = text.rstrip()
        if body:
            self._say(self._space + body)
            self._space = text[len(body):]
        else:
            self._space += text

    def flush(self) -> None:
        """What waits is part of the text."""
        self._say(self._space)
        self._space = ""

    def drop(self) -> None:
        """What waits is not part of the text."""
        self._space = ""
