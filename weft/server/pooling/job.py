"""`PoolingJob`: one HTTP request's prompts on the engine, a window of them at a time, and their results in order.

A request with thousands of prompts takes no more places in the engine than its window, so other clients' requests are
computed between its own. A prompt that the queue refuses is sent again, and the window is smaller from then on; a
request is refused only if the queue takes none of its prompts. This module knows no response shape.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from weft.errors import QueueFullError
from weft.frontend.pooled import WiredOutput
from weft.frontend.prompts import PairPrompt
from weft.outputs import PoolingOutput, PoolingRequestOutput
from weft.pooling_params import PoolingParams
from weft.server.cache_domain import cache_domain
from weft.server.errors import ApiError, renamed_fields
from weft.server.origin import OpenRequest, origin_of
from weft.server.pooling.inputs import Inputs, inputs_of
from weft.server.pooling.schemas import CohereBody, PoolingFields, TextsBody
from weft.server.request_fields import priority_of, request_id_of, timeout_of
from weft.server.served import ServedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

Output = PoolingRequestOutput[PoolingOutput]

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 2**30      # of the numbers that one request may ask for: they are kept until the last has come
_RETRY_SECONDS = 0.1          # between attempts of a request whose last prompt in the engine was refused


class PoolingJob:
    """The engine's work for one HTTP request: one engine request for each prompt.

    request: names the request in the log and for /abort_requests. tokenization: `tokenization_kwargs` of `encode`.
    timeout: seconds until the work ends with ApiError 408, counted from the call of `results`. cache_salt: the body's.
    """

    def __init__(self, served: ServedModel, inputs: Inputs, params: PoolingParams, *, request: OpenRequest,
                 priority: int = 0, tokenization: dict[str, Any] | None = None, timeout: float | None = None,
                 cache_salt: str | None = None) -> None:
        self._served, self._inputs, self._params = served, inputs, params
        self._request, self._priority, self._timeout = request, priority, timeout
        self._tokenization = {"add_special_tokens": inputs.add_special_tokens, **(tokenization or {})}
        self._domain = cache_domain(served.options, request.origin, cache_salt)
        self._engine_id = f"{request.response_id}-{secrets.token_hex(8)}"      # clients may repeat their ids
        self._todo = deque(range(len(inputs.prompts)))
        self._found: dict[int, Output] = {}
        self._num_bytes = 0

    async def results(self) -> list[Output]:
        """The outputs of all prompts, in order, each with numbers. ApiError for the first that is wrong; then no other
        runs on."""
        self._served.load += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._run()
        except TimeoutError as error:
            raise ApiError(408, f"The request did not end within its timeout of {self._timeout:g} s.",
                           "timeout") from error
        except QueueFullError as error:
            raise self._served.too_many(error) from error
        finally:
            self._served.load -= 1
        return [self._found[index] for index in range(len(self._found))]

    async def _run(self) -> None:
        window = min(2 * self._served.engine.config.scheduler.max_num_seqs, len(self._todo))
        self._num_workers = window
        workers = [asyncio.create_task(self._work()) for _ in range(window)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        """Takes prompts until there are none. A worker whose prompt is refused ends, unless it is the last one."""
        while self._todo:
            index = self._todo.popleft()
            try:
                self._found[index] = await self._one(index)
            except QueueFullError:
                self._todo.appendleft(index)
                if self._num_workers > 1:
                    break
                if not self._found:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
        self._num_workers -= 1

    async def _one(self, index: int) -> Output:
        engine_id, place = f"{self._engine_id}-{index}", self._inputs.places[index]
        self._served.open[engine_id] = self._request
        try:
            with renamed_fields({"prompt": place, "prompt_token_ids": place}):
                async with aclosing(self._served.engine.encode(
                        self._prompt(index), self._params, engine_id, priority=self._priority,
                        client=self._request.origin.share_key, tokenization_kwargs=self._tokenization)) as outputs:
                    output = await anext(outputs)
        finally:
            del self._served.open[engine_id]
        if output.outputs is None:
            raise _failure(output)
        self._num_bytes += array_of(output).nbytes
        self._check_size()
        return output

    def _prompt(self, index: int) -> Any:
        prompt = self._inputs.prompts[index]
        if isinstance(prompt, PairPrompt):
            return prompt._replace(**self._domain)
        return {"prompt" if isinstance(prompt, str) else "prompt_token_ids": prompt, **self._domain}

    def _check_size(self) -> None:
        if self._num_bytes > MAX_ANSWER_BYTES:
            raise ApiError(400, f"The answer has more than {MAX_ANSWER_BYTES} bytes of numbers: send fewer texts in a "
                           "request.", self._inputs.places[0].partition(".")[0])


def array_of(output: Output) -> NDArray[Any]:
    """The numbers of an output of a job."""
    assert isinstance(output.outputs, WiredOutput), "an engine in another process sends its numbers"
    return output.outputs.array


def _failure(output: Output) -> ApiError:
    if output.error == "abort":
        return ApiError(503, "The request was ended before its answer was there: send it again.")
    logger.error("request %s ended by an error: %s", output.request_id, output.error)
    return ApiError(500, f"The engine failed at this request; the server's log says why ({output.request_id}).")


def pooling_params(**fields: Any) -> PoolingParams:
    """PoolingParams of the fields that are not None."""
    return PoolingParams(**{name: value for name, value in fields.items() if value is not None})


def usage_of(results: Iterable[PoolingRequestOutput[Any]]) -> dict[str, int]:
    """OpenAI's usage object of embeddings."""
    num_tokens = sum(len(result.prompt_token_ids) for result in results)
    return {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


async def run_texts(served: ServedModel, request: Request, body: TextsBody, params: PoolingParams, *,
                    prefix: str) -> tuple[str, list[Output]]:
    """(the response's id, the results) of a body of texts."""
    return await run_inputs(served, request, body, await inputs_of(served, body), params, prefix=prefix)


async def run_inputs(served: ServedModel, request: Request, body: PoolingFields | CohereBody, inputs: Inputs,
                     params: PoolingParams, *, prefix: str) -> tuple[str, list[Output]]:
    """(the response's id, the results) of prompts, under the body's priority, timeout and truncation."""
    response_id = prefix + request_id_of(request, body.request_id)
    cut = {"truncate_prompt_tokens": body.truncate_prompt_tokens, "truncation_side": body.truncation_side}
    job = PoolingJob(served, inputs, params, request=OpenRequest(response_id, origin_of(request.scope)),
                     tokenization=cut, priority=priority_of(request, body.priority),
                     timeout=timeout_of(request, body.timeout), cache_salt=body.cache_salt)
    return response_id, await job.results()
