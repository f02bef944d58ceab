"""`CompilePool`: compiles grammars in threads, each once, and keeps them. Owned by `engine/constraints.py`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor

from weft.errors import RequestError, WeftError
from weft.grammar.compiler import Compiler
from weft.grammar.constraint import Constraint
from weft.grammar.form import ConstraintSpec
from weft.grammar.trial import SECONDS, Trial, Verdict
from weft.grammar.vocabulary import Vocabulary

_THREADS = 2
KEPT_BYTES = 256 << 20          # of compiled grammars
_BYTES_PER_CHAR = 256            # measured: a large schema's compiled form, for each character of it
_BYTES_EACH = 64 << 10


class CompilePool:
    """Compiled grammars for one vocabulary, by their specs. Verdicts on bad grammars are kept too: they come again.

    Attributes:
        num_bytes: estimated memory of the grammars that are kept; at most 256 MiB, unless one alone is larger.
    """

    def __init__(self, vocabulary: Vocabulary, *, trial_seconds: float = SECONDS) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="weft-grammar")
        self._compiler = self._threads.submit(Compiler, vocabulary)
        self._vocabulary, self._trial_seconds = vocabulary, trial_seconds
        self._local, self._trials = threading.local(), list[Trial]()
        self._lock = threading.Lock()      # guards the fields below, and the list of trials
        self._is_closed = False
        self._kept: OrderedDict[ConstraintSpec, Future[Constraint]] = OrderedDict()
        self.num_bytes = 0

    def start(self, spec: ConstraintSpec) -> Future[Constraint]:
        """The compiled grammar, to branch from with `new`; at once if it is kept. RequestError if it cannot be used."""
        with self._lock:
            future = self._kept.get(spec)
            if future is None:
                future = self._kept[spec] = self._threads.submit(self._compile, spec)
                self.num_bytes += _size(spec)
            self._kept.move_to_end(spec)
            while self.num_bytes > KEPT_BYTES and len(self._kept) > 1:
                oldest, _ = self._kept.popitem(last=False)
                self.num_bytes -= _size(oldest)
            return future

    def close(self) -> None:
        """Ends the threads and their processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._is_closed = True
        for trial in self._trials:
            trial.close()

    def _compile(self, spec: ConstraintSpec) -> Constraint:
        try:
            verdict = self._trial().judge(spec)
            if not verdict.error:
                # This repeats what the trial has done in its time and memory: the same spec, vocabulary and limits,
                # up to the mask of the first token.
                return self._compiler.result().compile(spec)
        except RequestError:
            raise
        except BaseException:      # no fault of the grammar: it is tried anew when it comes again
            self._forget(spec)
            raise
        raise refusal(spec, verdict)

    def _forget(self, spec: ConstraintSpec) -> None:
        with self._lock:
            if self._kept.pop(spec, None) is not None:
                self.num_bytes -= _size(spec)

    def _trial(self) -> Trial:
        """This thread's trial process. WeftError after `close`."""
        trial = getattr(self._local, "trial", None)
        if trial is None:
            with self._lock:
                if self._is_closed:
                    raise WeftError("The pool that compiles grammars is closed.")
                trial = self._local.trial = Trial(self._vocabulary, self._trial_seconds)
                self._trials.append(trial)
        return trial


def _size(spec: ConstraintSpec) -> int:
    return len(spec.grammar) * _BYTES_PER_CHAR + _BYTES_EACH


def refusal(spec: ConstraintSpec, verdict: Verdict) -> RequestError:
    """The error for a grammar that a trial found to be wrong."""
    return RequestError(
        spec.field, verdict.pointer or spec.noun, hint=f"{verdict.error.rstrip('.')}.",
        expected="a schema that a grammar can enforce" if verdict.pointer else "one that can be compiled")
