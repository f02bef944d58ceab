"""`Trial`: compiles grammars in a process that can be killed, before the engine does it in its own.

Most hostile grammars run into llguidance's own limits; some take minutes or gigabytes. `trial_process.py` is the other
end. Owned by `compile_pool.py`.
"""

from __future__ import annotations

import msgspec

from weft.grammar.form import ConstraintSpec
from weft.grammar.vocabulary import Vocabulary
from weft.isolated.process import IsolatedProcess, ProcessEndedError

SECONDS = 5.0              # for one grammar
_MAX_BYTES = 2 << 30       # of memory
_MAX_ANSWER_BYTES = 16 << 20


class Verdict(msgspec.Struct, array_like=True):
    """What is wrong with a spec; "" if nothing. pointer: the place in a JSON schema; "" for other grammars."""

    error: str = ""
    pointer: str = ""


class Trial:
    """One process, started when first needed and again after it was killed."""

    def __init__(self, vocabulary: Vocabulary, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._process = IsolatedProcess("weft.grammar.trial_process:judging", "tries grammars", max_bytes=_MAX_BYTES,
                                        setup=lambda: msgspec.msgpack.encode(vocabulary))

    @property
    def pid(self) -> int | None:
        """The process's id; None before it is first needed, and after it was killed."""
        return self._process.pid

    def judge(self, spec: ConstraintSpec) -> Verdict:
        """Compiles a spec in the process. Blocks until the spec is compiled or the time is over. WeftError if the
        process does not start, or after `close`.
        """
        try:
            answer = self._process.ask(msgspec.msgpack.encode(spec), self._seconds, _MAX_ANSWER_BYTES)
        except ProcessEndedError as ended:
            return Verdict("It is too complex: compiling it took " + (
                f"more than {self._seconds:g} s" if ended.exit_code is None else
                f"too much memory, or ended the process (exit code {ended.exit_code})"))
        return msgspec.msgpack.decode(answer, type=Verdict)

    def close(self) -> None:
        """Ends the process for good, also one that another thread is starting."""
        self._process.close()
