"""`ServerContext`: the options, metrics and models that all routes of an app share. `build_app` makes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

from starlette.requests import Request

from weft.server.body import read_object
from weft.server.errors import ApiError
from weft.server.openai.schemas import Body, Parsed, known_fields, parse
from weft.server.options import ServerOptions
from weft.server.served import ServedModel
from weft.server.server_metrics import ServerMetrics
from weft.server.tasks import require_task
from weft.server.unknown_fields import UnknownFields

_THREAD_ITEMS = 1000      # a body with this many list entries or more is checked in a thread

B = TypeVar("B", bound=Body)


@dataclass(slots=True, eq=False)
class ServerContext:
    """The parts that routes use. created: seconds since 1970 when the app was built."""

    options: ServerOptions
    metrics: ServerMetrics
    served: ServedModel
    created: int
    unknown: UnknownFields = field(init=False)

    def __post_init__(self) -> None:
        self.unknown = UnknownFields(strict=self.options.strict_fields)

    @property
    def load(self) -> int:
        """The number of requests that are being served."""
        return self.served.load

    async def read(self, request: Request, schema: type[B]) -> Parsed[B]:
        """`request`'s body, parsed by `schema`."""
        data = await read_object(request, self.options.max_body_bytes)
        is_small = sum(len(value) for value in data.values() if isinstance(value, list)) < _THREAD_ITEMS
        parsed = parse(schema, data) if is_small else await asyncio.to_thread(parse, schema, data)
        if parsed.ignored:
            self.unknown.treat(request.url.path, parsed.ignored, known_fields(schema))
        return parsed

    async def model(self, request: Request, body: Body) -> ServedModel:
        """The model that `body` names. ApiError 404 if it is not served here, 400 if it is not of the kind that `body`
        needs."""
        served = self.named(getattr(body, "model", None))
        if body.needs is not None:
            require_task(request.url.path, body.needs, served.engine.info.tasks)
        return served

    def of_query(self, request: Request) -> ServedModel:
        """The model that the query's `model` names. ApiError 404 if it is not served here."""
        return self.named(request.query_params.get("model"))

    def named(self, name: str | None) -> ServedModel:
        """The model of this name; None: the one there is. ApiError 404 if it is not served here."""
        if name is not None and name not in self.served.names:
            raise ApiError(404, f"The model {name!r} does not exist here; there is {', '.join(self.served.names)}.",
                           "model")
        return self.served
