"""`OutputStream`: passes a request's outputs to its one reader in an event loop.

At most one output waits: outputs that a slow reader has not taken are merged, so nothing is lost and no queue grows.
"""

from __future__ import annotations

import asyncio

from weft.frontend.extra_rows import joined_rows
from weft.outputs import CompletionOutput, PoolingRequestOutput, RequestOutput
from weft.sampling_params import RequestOutputKind


class OutputStream:
    """One request's outputs, for one event loop and one reader. The engine's side calls `put` and `fail`.

    kind: the request's output kind; None for pooling. is_aborted: set when the user has aborted the request.
    """

    def __init__(self, kind: RequestOutputKind | None) -> None:
        self._kind = kind
        self._waiting: RequestOutput | PoolingRequestOutput | None = None
        self._error: BaseException | None = None
        self._arrived = asyncio.Event()
        self.is_aborted = False

    def put(self, output: RequestOutput | PoolingRequestOutput) -> None:
        """Hands an output to the reader. Ignored after an error."""
        if self._error is not None:
            return
        if isinstance(self._waiting, RequestOutput) and isinstance(output, RequestOutput):
            output = merge_outputs(self._waiting, output, self._kind)
        self._waiting = output
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Raises `error` in the reader, after the output that waits."""
        self._error = error
        self._arrived.set()

    async def get(self) -> RequestOutput | PoolingRequestOutput:
        """Waits for the next output and returns it; raises the error given to `fail`."""
        await self._arrived.wait()
        output, self._waiting = self._waiting, None
        if self._error is None:
            self._arrived.clear()
        if output is None:
            raise self._error or RuntimeError("an output stream was woken without an output")
        return output


def merge_outputs(old: RequestOutput, new: RequestOutput, kind: RequestOutputKind | None) -> RequestOutput:
    """Merges two outputs into one. Deltas are joined; a newer output of another kind replaces the older one."""
    if kind is not RequestOutputKind.DELTA:
        return new
    answers = {answer.index: answer for answer in old.outputs}
    for answer in new.outputs:
        earlier = answers.get(answer.index)
        answers[answer.index] = answer if earlier is None else _join(earlier, answer)
    new.outputs = [answers[index] for index in sorted(answers)]
    new.prompt_logprobs = old.prompt_logprobs if new.prompt_logprobs is None else new.prompt_logprobs
    new.extra_outputs = old.extra_outputs if new.extra_outputs is None else new.extra_outputs
    return new


def _join(old: CompletionOutput, new: CompletionOutput) -> CompletionOutput:
    new.text = old.text + new.text
    new.token_ids = old.token_ids + new.token_ids
    new.logprobs = None if new.logprobs is None else (old.logprobs or []) + new.logprobs
    if old.extra_outputs is not None and new.extra_outputs is not None:
        new.extra_outputs = joined_rows(old.extra_outputs, new.extra_outputs)
    return new
