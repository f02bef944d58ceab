"""What every route of one app shares: its engine, options and metrics. Made by `build_app`, passed to the routers."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request

from weft.async_llm import AsyncLLM
from weft.errors import RequestError
from weft.server.body import read_object
from weft.server.errors import ApiError, dotted
from weft.server.headers import header_value
from weft.server.metrics import EngineMetrics
from weft.server.openai.schemas import MAX_ID_CHARS, Body, Parsed, parse
from weft.server.options import ServerOptions
from weft.text.chat import Renderer
from weft.text.tokenizer import Tokenizer

_MAX_NAMES, _MAX_NAME_CHARS = 20, 64      # of unknown fields, as an answer's header names them
_THREAD_ITEMS = 1000      # a body with so many list entries is checked in a thread

B = TypeVar("B", bound=Body)


@dataclass(slots=True, eq=False)
class ServerContext:
    """The parts that routes use. created: when the app was built, seconds since 1970. load: requests in work."""

    engine: AsyncLLM
    options: ServerOptions
    metrics: EngineMetrics
    created: int
    load: int = 0

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names the model is served under, the first one is told in answers."""
        return self.engine.config.served_model_names

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer. ApiError 400 where the server runs without one."""
        if self.engine.tokenizer is None:
            raise ApiError(400, "This server runs without a tokenizer: send prompts as token ids to /v1/completions.")
        return self.engine.tokenizer

    def require_renderer(self) -> Renderer:
        """What turns messages into a prompt. ApiError 400 where there is no tokenizer."""
        if self.engine.renderer is None:
            raise ApiError(400, "This server runs without a tokenizer: it has no chat.", "messages")
        return self.engine.renderer

    async def read(self, request: Request, schema: type[B]) -> Parsed[B]:
        """`request`'s body by `schema`; its model must be ours."""
        data = await read_object(request, self.options.max_body_bytes)
        is_small = sum(len(value) for value in data.values() if isinstance(value, list)) < _THREAD_ITEMS
        parsed = parse(schema, data) if is_small else await asyncio.to_thread(parse, schema, data)
        self.check_model(getattr(parsed.body, "model", None))
        return parsed

    async def encode(self, prompt: str | list[int], place: str, *, add_special_tokens: bool) -> list[int]:
        """`prompt` as token ids of the vocabulary, made off the event loop. ApiError 400 that names `place`."""
        if isinstance(prompt, str):
            self.require_tokenizer()
        try:
            return await self.engine.encode_prompt(prompt, add_special_tokens=add_special_tokens)
        except RequestError as error:
            _, dot, rest = dotted(error.field).partition(".")
            raise ApiError(400, str(error), place + dot + rest) from error

    def priority(self, request: Request, given: int | None) -> int:
        """The priority in the body, else in the header X-Weft-Priority, else 0."""
        header = request.headers.get("x-weft-priority", "0")
        if given is not None:
            return given
        if not header.removeprefix("-").isdecimal() or len(header) > 10:
            raise ApiError(400, f"X-Weft-Priority = {header[:40]!r}: expected an integer.", "X-Weft-Priority")
        return int(header)

    def check_model(self, name: str | None) -> None:
        """ApiError 404 unless `name` is served here; None is the model there is."""
        if name is not None and name not in self.model_names:
            raise ApiError(404, f"The model {name!r} does not exist here; there is {', '.join(self.model_names)}.",
                           "model")


def request_id_of(request: Request, given: str | None) -> str:
    """The id that the client gave, in the body or as X-Request-Id, or a new one."""
    header = request.headers.get("x-request-id", "")
    return given or header_value(header, MAX_ID_CHARS) or secrets.token_hex(16)


def ignored_header(ignored: tuple[str, ...]) -> dict[str, str]:
    """The header that names the fields nobody knows, so that a misspelling does not stay hidden."""
    names = [header_value(name, _MAX_NAME_CHARS) or "(unprintable)" for name in ignored[:_MAX_NAMES]]
    return {"X-Weft-Ignored-Fields": ", ".join(dict.fromkeys(names))} if ignored else {}
