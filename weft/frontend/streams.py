"""`OutputStream`: hands a request's outputs to its one reader in an event loop.

At most one output waits: what a slow reader has not taken is merged, so memory does not grow and nothing is lost.
"""

from __future__ import annotations

import asyncio

from weft.outputs import CompletionOutput, PoolingRequestOutput, RequestOutput
from weft.sampling_params import RequestOutputKind


class OutputStream:
    """One request's outputs, for one event loop: `put` and `fail` beside `get` of one reader.

    kind: None where a newer output says all. is_aborted: somebody wants the request to end.
    """

    def __init__(self, kind: RequestOutputKind | None) -> None:
        self._kind = kind
        self._waiting: RequestOutput | PoolingRequestOutput | None = None
        self._error: BaseException | None = None
        self._arrived = asyncio.Event()
        self.is_aborted = False

    def put(self, output: RequestOutput | PoolingRequestOutput) -> None:
        """An output for the reader; none comes after an error."""
        if self._error is not None:
            return
        if isinstance(self._waiting, RequestOutput) and isinstance(output, RequestOutput):
            output = merge_outputs(self._waiting, output, self._kind)
        self._waiting = output
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Raise in the reader, after what waits for it."""
        self._error = error
        self._arrived.set()

    async def get(self) -> RequestOutput | PoolingRequestOutput:
        """The next output; waits for it."""
        await self._arrived.wait()
        output, self._waiting = self._waiting, None
        if self._error is None:
            self._arrived.clear()
        if output is None:
            raise self._error or RuntimeError("an output stream was woken without an output")
        return output


def merge_outputs(old: RequestOutput, new: RequestOutput, kind: RequestOutputKind | None) -> RequestOutput:
    """One output that says what the two say. Deltas are joined; of cumulative outputs the newer says all."""
    if kind is not RequestOutputKind.DELTA:
        return new
    answers = {answer.index: answer for answer in old.outputs}
    for answer in new.outputs:
        earlier = answers.get(answer.index)
        answers[answer.index] = answer if earlier is None else _join(earlier, answer)
    new.outputs = [answers[index] for index in sorted(answers)]
    new.prompt_logprobs = old.prompt_logprobs if new.prompt_logprobs is None else new.prompt_logprobs
    return new


def _join(old: CompletionOutput, new: CompletionOutput) -> CompletionOutput:
    new.text = old.text + new.text
    new.token_ids = old.token_ids + new.token_ids
    new.logprobs = None if new.logprobs is None else (old.logprobs or []) + new.logprobs
    return new
