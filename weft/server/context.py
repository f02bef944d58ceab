"""`ServerContext`: the engine, options and metrics that all routes of an app share. `build_app` makes it."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request

from weft.async_llm import AsyncLLM
from weft.errors import RequestError
from weft.server.admission import Pace
from weft.server.body import read_object
from weft.server.errors import ApiError, dotted
from weft.server.headers import header_value
from weft.server.metrics import EngineMetrics
from weft.server.openai.schemas import MAX_ID_CHARS, Body, Parsed, known_fields, parse
from weft.server.options import ServerOptions
from weft.server.unknown_fields import UnknownFields
from weft.text.chat import Renderer
from weft.text.parsing.parsers import Parsers
from weft.text.tokenizer import Tokenizer

_MAX_NAMES, _MAX_NAME_CHARS = 20, 64      # limits of the response header that names unknown fields
_THREAD_ITEMS = 1000      # a body with this many list entries or more is checked in a thread

B = TypeVar("B", bound=Body)


@dataclass(slots=True, eq=False)
class ServerContext:
    """The parts that routes use. created: seconds since 1970 when the app was built. load: requests being served.

    open: {the engine's id of a running request: the id of the response that it is for}.
    """

    engine: AsyncLLM
    options: ServerOptions
    metrics: EngineMetrics
    created: int
    parsers: Parsers = field(default_factory=Parsers)
    pace: Pace = field(default_factory=Pace)
    load: int = 0
    open: dict[str, str] = field(default_factory=dict)
    unknown: UnknownFields = field(init=False)
    _special: dict[bool, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unknown = UnknownFields(strict=self.options.strict_fields)

    def need_special_tokens(self, *, with_tools: bool) -> bool:
        """`Parsers.need_special_tokens`, which looks at every special token, once for each kind of request."""
        if with_tools not in self._special:
            self._special[with_tools] = self.parsers.need_special_tokens(
                self.require_tokenizer(), with_tools=with_tools)
        return self._special[with_tools]

    @property
    def model_names(self) -> tuple[str, ...]:
        """The model's served names. Responses use the first name unless the request gives another."""
        return self.engine.config.served_model_names

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer. ApiError 400 if the server has none."""
        if self.engine.tokenizer is None:
            raise ApiError(400, "This server runs without a tokenizer: send prompts as token ids to /v1/completions.")
        return self.engine.tokenizer

    def require_renderer(self) -> Renderer:
        """The chat renderer, which turns messages into a prompt. ApiError 400 if the server has no tokenizer."""
        if self.engine.renderer is None:
            raise ApiError(400, "This server runs without a tokenizer: it has no chat.", "messages")
        return self.engine.renderer

    async def read(self, request: Request, schema: type[B]) -> Parsed[B]:
        """`request`'s body, parsed by `schema`. ApiError 404 if its `model` is not served here."""
        data = await read_object(request, self.options.max_body_bytes)
        is_small = sum(len(value) for value in data.values() if isinstance(value, list)) < _THREAD_ITEMS
        parsed = parse(schema, data) if is_small else await asyncio.to_thread(parse, schema, data)
        if parsed.ignored:
            self.unknown.treat(request.url.path, parsed.ignored, known_fields(schema))
        self.check_model(getattr(parsed.body, "model", None))
        return parsed

    async def encode(self, prompt: str | list[int], place: str, *, add_special_tokens: bool) -> list[int]:
        """The token ids of `prompt`, tokenized in a thread and checked against the vocabulary.

        place: the prompt's path in the request's body, for the ApiError 400.
        """
        if isinstance(prompt, str):
            self.require_tokenizer()
        try:
            return await self.engine.encode_prompt(prompt, add_special_tokens=add_special_tokens)
        except RequestError as error:
            _, dot, rest = dotted(error.field).partition(".")
            raise ApiError(400, str(error), place + dot + rest) from error

    async def abort(self, response_ids: list[str]) -> int:
        """End running requests, named by the ids of their responses or by the ids that clients gave them.

        Returns the number of the engine's requests that were ended; unknown ids are ignored.
        """
        wanted = set(response_ids)
        found = [engine_id for engine_id, response_id in self.open.items()
                 if response_id in wanted or re.split("[-_]", response_id, maxsplit=1)[-1] in wanted]
        for engine_id in found:
            await self.engine.abort(engine_id)
        return len(found)

    def priority(self, request: Request, given: int | None) -> int:
        """The request's priority: `given` (from the body), else the header X-Weft-Priority, else 0."""
        header = request.headers.get("x-weft-priority", "0")
        if given is not None:
            return given
        if not header.removeprefix("-").isdecimal() or len(header) > 10:
            raise ApiError(400, f"X-Weft-Priority = {header[:40]!r}: expected an integer.", "X-Weft-Priority")
        return int(header)

    def timeout(self, request: Request, given: float | None) -> float | None:
        """Seconds that the request may take: `given` (from the body), else the header X-Weft-Timeout, else no limit."""
        text = request.headers.get("x-weft-timeout")
        field = "timeout" if given is not None else "X-Weft-Timeout"
        try:
            seconds = given if given is not None or text is None else float(text)
        except ValueError:
            seconds = math.nan
        if seconds is not None and not 0 < seconds < math.inf:
            raise ApiError(400, f"{field} = {(text or '')[:40] if given is None else given}: expected seconds above 0.",
                           field)
        return seconds

    def check_model(self, name: str | None) -> None:
        """ApiError 404 unless `name` is served here; None means the served model."""
        if name is not None and name not in self.model_names:
            raise ApiError(404, f"The model {name!r} does not exist here; there is {', '.join(self.model_names)}.",
                           "model")


def request_id_of(request: Request, given: str | None) -> str:
    """The client's request id: `given` (from the body), else the header X-Request-Id, else a new id."""
    header = request.headers.get("x-request-id", "")
    return given or header_value(header, MAX_ID_CHARS) or secrets.token_hex(16)


def ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """A response header that names the ignored (unknown) fields, so that clients notice a misspelling."""
    names = [header_value(name, _MAX_NAME_CHARS) or "(unprintable)" for name in ignored[:_MAX_NAMES]]
    return {"X-Weft-Ignored-Fields": ", ".join(dict.fromkeys(names))} if ignored else {}
