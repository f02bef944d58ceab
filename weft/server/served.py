"""`ServedModel`: one model that answers requests: its engine, metrics and parsers, and the requests it is at work on.

Routes get it from the `ServerContext`, by the name in a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from weft.async_llm import AsyncLLM
from weft.errors import QueueFullError, RequestError
from weft.frontend.metrics import EngineMetrics
from weft.server.admission import Pace
from weft.server.audit import Audit
from weft.server.errors import ApiError, dotted
from weft.server.options import ServerOptions
from weft.server.origin import OpenRequest
from weft.server.work import Work
from weft.text.chat import Renderer
from weft.text.parsing.parsers import Parsers
from weft.text.tokenizer import Tokenizer


@dataclass(slots=True, eq=False)
class ServedModel:
    """The parts that routes use. load: requests being served.

    names: clients' names of the model. Responses have the first one unless the request gives another.
    open: the running requests, by the engine's ids. fingerprint: `system_fingerprint` of answers; None: they have none.
    """

    engine: AsyncLLM
    options: ServerOptions
    metrics: EngineMetrics
    names: tuple[str, ...]
    audit: Audit
    work: Work
    parsers: Parsers = field(default_factory=Parsers)
    fingerprint: str | None = None
    pace: Pace = field(default_factory=Pace)
    load: int = 0
    open: dict[str, OpenRequest] = field(default_factory=dict)
    _special: dict[bool, bool] = field(default_factory=dict)

    def need_special_tokens(self, *, with_tools: bool) -> bool:
        """`Parsers.need_special_tokens`, which looks at every special token, once for each kind of request."""
        if with_tools not in self._special:
            self._special[with_tools] = self.parsers.need_special_tokens(
                self.require_tokenizer(), with_tools=with_tools)
        return self._special[with_tools]

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer. ApiError 400 if the model has none."""
        if self.engine.tokenizer is None:
            raise ApiError(400, "This server runs without a tokenizer: send prompts as token ids to /v1/completions.")
        return self.engine.tokenizer

    def require_renderer(self) -> Renderer:
        """The chat renderer, which turns messages into a prompt. ApiError 400 if the model has no tokenizer."""
        if self.engine.renderer is None:
            raise ApiError(400, "This server runs without a tokenizer: it has no chat.", "messages")
        return self.engine.renderer

    def head(self) -> dict[str, Any]:
        """The fields of OpenAI's answers that say what made them, besides `model`."""
        return {} if self.fingerprint is None else {"system_fingerprint": self.fingerprint}

    async def encode(self, prompt: str | list[int], place: str, *, add_special_tokens: bool,
                     must_fit: bool = False) -> list[int]:
        """The token ids of `prompt`, tokenized in a thread and checked against the vocabulary.

        place: the prompt's path in the request's body, for the ApiError 400. must_fit: as of `AsyncLLM.encode_prompt`.
        """
        if isinstance(prompt, str):
            self.require_tokenizer()
        try:
            return await self.engine.encode_prompt(prompt, add_special_tokens=add_special_tokens, must_fit=must_fit)
        except RequestError as error:
            _, dot, rest = dotted(error.field).partition(".")
            raise ApiError(400, str(error), place + dot + rest) from error
        except QueueFullError as error:
            raise self.too_many(error) from error

    def too_many(self, error: QueueFullError) -> ApiError:
        """Counts a request that the model's queues have no room for. Returns its status 429."""
        self.metrics.rejected(error.limit)
        return ApiError(429, str(error), retry_after=self.pace.retry_after(self.engine.stats.num_waiting))

    async def abort(self, response_ids: list[str]) -> int:
        """End running requests, named by the ids of their responses or by the ids that clients gave them.

        Returns the number of the engine's requests that were ended; unknown ids are ignored.
        """
        wanted = set(response_ids)
        found = [engine_id for engine_id, request in self.open.items()
                 if request.response_id in wanted
                 or re.split("[-_]", request.response_id, maxsplit=1)[-1] in wanted]
        for engine_id in found:
            await self.engine.abort(engine_id)
        return len(found)
