"""`ServerContext`: the options, metrics and models that all routes of an app share. `build_app` makes it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from starlette.requests import Request

from weft.errors import ConfigError
from weft.server.body import read_object
from weft.server.disconnect import until_disconnect
from weft.server.errors import ApiError, bad_field
from weft.server.form import read_form
from weft.server.model_pool.entry import ModelEntry
from weft.server.model_pool.held import held_for, hold_for
from weft.server.model_pool.keep_alive import read_keep_alive
from weft.server.model_pool.pool import ModelPool
from weft.server.openai.schemas import Body, Parsed, known_fields, parse
from weft.server.options import ServerOptions
from weft.server.request_fields import note_wait, timeout_of
from weft.server.served import ServedModel
from weft.server.server_metrics import ServerMetrics
from weft.server.speech.schemas import typed
from weft.server.tasks import require_task
from weft.server.unknown_fields import UnknownFields

_THREAD_ITEMS = 1000      # a body with this many list entries or more is checked in a thread

B = TypeVar("B", bound=Body)


@dataclass(slots=True, eq=False)
class ServerContext:
    """The parts that routes use. created: seconds since 1970 when the app was built."""

    options: ServerOptions
    models: ModelPool
    created: int
    unknown: UnknownFields = field(init=False)

    def __post_init__(self) -> None:
        self.unknown = UnknownFields(strict=self.options.strict_fields)

    @property
    def metrics(self) -> ServerMetrics:
        """All that GET /metrics shows."""
        return self.models.metrics

    @property
    def load(self) -> int:
        """The number of requests that are being served."""
        return sum(served.load for served in self.models.loaded)

    async def read(self, request: Request, schema: type[B]) -> Parsed[B]:
        """`request`'s body, parsed by `schema`. ApiError 404 if its `model` is not served here."""
        return await self._parsed(request, schema, await self.read_any(request))

    async def read_form(self, request: Request, schema: type[B]) -> Parsed[B]:
        """As `read`, of a body that is a form: texts of its fields become the numbers and truths of the schema."""
        data = await read_form(request, self.options.max_body_bytes)
        return await self._parsed(request, schema, typed(schema, data))

    async def _parsed(self, request: Request, schema: type[B], data: dict[str, Any]) -> Parsed[B]:
        is_small = sum(len(value) for value in data.values() if isinstance(value, list)) < _THREAD_ITEMS
        parsed = parse(schema, data) if is_small else await self.models.work.bodies.run(parse, schema, data)
        if parsed.ignored:
            self.unknown.treat(request.url.path, parsed.ignored, known_fields(schema))
        if "model" in schema.model_fields:
            entry, keep_alive = self._entry(parsed.body), _keep_alive(parsed.body)
            if keep_alive is not None and entry.spec.is_resident:      # its operator has said how long it stays
                return replace(parsed, ignored=(*parsed.ignored, "keep_alive"))
        return parsed

    async def read_any(self, request: Request) -> dict[str, Any]:
        """`request`'s body, with unchecked fields."""
        return await read_object(request, self.options.max_body_bytes, self.models.work.bodies)

    async def model(self, request: Request, body: Body) -> ServedModel:
        """The model that `body` names, which stays loaded until the request is over; waits while it is loaded.

        Errors as of `ModelPool.ready`; ApiError 404 if the model is not served here, 400 if it is not of the kind that
        `body` needs.
        """
        entry, keep_alive = self._entry(body), _keep_alive(body)
        if keep_alive is not None and not entry.spec.is_resident:
            entry.keep_alive = keep_alive
        served = await self._ready(request, entry, getattr(body, "timeout", None))
        if body.needs is not None:
            require_task(request.url.path, body.needs, served.engine.info.tasks)
        return served

    async def model_named(self, request: Request, name: str | None, timeout: float | None = None) -> ServedModel:
        """As `model`, for the model of this name; None: the only one. timeout: seconds, of the request's body."""
        return await self._ready(request, self.models.find(name), timeout)

    def loaded_of_query(self, request: Request) -> ServedModel:
        """The model that the query's `model` names. ApiError 409 if it is not loaded."""
        entry = self.models.find(request.query_params.get("model"))
        hold_for(request.scope, self.models, entry)
        if not entry.is_ready or entry.served is None:
            raise ApiError(409, f"The model {entry.name!r} is not loaded: a request to it, or POST /models/load, "
                           "loads it.", "model")
        return entry.served

    def hold_until_done(self, request: Request, task: asyncio.Task[Any]) -> None:
        """The models that the request uses stay loaded until `task` has ended, too."""
        for entry in held_for(request.scope):
            self.models.hold(entry)
            task.add_done_callback(lambda _, entry=entry: self.models.release(entry))

    def _entry(self, body: Body) -> ModelEntry:
        return self.models.find(getattr(body, "model", None))

    async def _ready(self, request: Request, entry: ModelEntry, timeout: float | None) -> ServedModel:
        hold_for(request.scope, self.models, entry)
        if entry.is_ready and entry.served is not None:
            return entry.served
        began = time.monotonic()
        served = await until_disconnect(
            request, self.models.ready(entry, timeout=timeout_of(request, timeout)))
        note_wait(request, time.monotonic() - began)
        return served


def _keep_alive(body: Body) -> float | None:
    """Seconds of the body's `keep_alive`. ApiError 400 for a wrong one."""
    value = getattr(body, "keep_alive", None)
    if value is None:
        return None
    try:
        return read_keep_alive(value)
    except ConfigError as error:
        raise bad_field("keep_alive", value, expected=error.expected) from error
