"""`RequestLog`: a log line for each request of the engine that has ended; its texts only if they are asked for.

The logger is `weft.requests`. At the level DEBUG a line with the prompt follows, as in vLLM.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from weft.frontend.pooling import PoolingRecord
from weft.outputs import RequestOutput
from weft.sampling_params import SamplingParams
from weft.server.log_line import log_line
from weft.server.origin import OpenRequest
from weft.text.tokenizer import Tokenizer

logger = logging.getLogger("weft.requests")


class RequestLog:
    """An observer of the engine.

    model: its name. open: the running requests, by the engine's ids. shows_outputs: lines have the texts of the
    answers. max_chars: of a text in a line; None: no limit.
    """

    def __init__(self, model: str, open: Mapping[str, OpenRequest], tokenizer: Tokenizer | None, *,
                 shows_outputs: bool, max_chars: int | None) -> None:
        self._model, self._open, self._tokenizer = model, open, tokenizer
        self._shows_outputs, self._max_chars = shows_outputs, max_chars

    def on_step(self, stats: object) -> None:
        """Nothing: only ends have lines."""

    def on_finished(self, output: RequestOutput, params: SamplingParams) -> None:
        """Writes the line of a request that has ended, and at DEBUG one with its prompt."""
        reasons = dict.fromkeys(answer.finish_reason or "abort" for answer in output.outputs)
        num_tokens = sum(len(answer.token_ids) for answer in output.outputs)
        self._write(output.request_id, output.num_prompt_tokens, output.num_cached_tokens or 0, num_tokens,
                    output.metrics and output.metrics.first_token_time, ",".join(reasons), self._texts(output))
        if logger.isEnabledFor(logging.DEBUG) and output.request_id in self._open:
            logger.debug("%s", log_line(id=output.request_id, prompt=self._prompt(output)))

    def on_pooled(self, record: PoolingRecord) -> None:
        """Writes the line of a pooling request that has ended. It has no output tokens."""
        self._write(record.request_id, record.num_prompt_tokens, record.num_cached_tokens, 0, None,
                    record.finish_reason, {})

    def _write(self, request_id: str, num_prompt_tokens: int, num_cached_tokens: int, num_output_tokens: int,
               first_token_time: float | None, finish_reason: str, texts: dict[str, str]) -> None:
        """A line. Its times count from the arrival of the HTTP request; one without an HTTP request has no line."""
        found = self._open.get(request_id)
        if found is None:
            return
        origin = found.origin
        logger.info("%s", log_line(
            id=request_id, request_id=origin.request_id, model=self._model, route=origin.route, client=origin.client,
            key=origin.key_name,
            prompt_tokens=num_prompt_tokens, cached_tokens=num_cached_tokens, output_tokens=num_output_tokens,
            first_token_s=None if first_token_time is None else first_token_time - origin.arrived,
            total_s=time.monotonic() - origin.arrived, finish_reason=finish_reason, **texts))

    def _texts(self, output: RequestOutput) -> dict[str, str]:
        if not self._shows_outputs:
            return {}
        is_one = len(output.outputs) == 1
        return {"output" if is_one else f"output_{answer.index}": answer.text[: self._max_chars]
                for answer in output.outputs}

    def _prompt(self, output: RequestOutput) -> str:
        """The prompt's text; its token ids, if there is no tokenizer."""
        token_ids = output.prompt_token_ids[: self._max_chars]      # nearly every token has a character
        if self._tokenizer is None:
            return str(token_ids)
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)[: self._max_chars]
