"""`OpenAudio`: how much audio a server's requests hold decoded: small files of hours must not fill the memory."""

from __future__ import annotations

import weakref

from weft.errors import QueueFullError
from weft.media.audio import MAX_SECONDS

MAX_OPEN_SECONDS = 4 * MAX_SECONDS      # of all files: 2 GB at 16 kHz


class OpenAudio:
    """Used from one thread. A file counts as the longest that is allowed until its length is known."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def reserve(self) -> None:
        """Room for a file that will be decoded. QueueFullError if there is none."""
        if self.seconds + MAX_SECONDS > MAX_OPEN_SECONDS:
            raise QueueFullError(f"Other requests hold {self.seconds:.0f} s of audio, and {MAX_OPEN_SECONDS} s may be "
                                 "held: try again later.", "max_open_audio")
        self.seconds += MAX_SECONDS

    def release(self, seconds: float = MAX_SECONDS) -> None:
        """Gives back room."""
        self.seconds -= seconds

    def hold(self, owner: object, seconds: float) -> None:
        """The room of a decoded file, of this length, is taken for as long as `owner` lives, which has its samples."""
        self.release(MAX_SECONDS - seconds)
        weakref.finalize(owner, self.release, seconds)
