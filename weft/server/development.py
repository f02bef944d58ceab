"""The routes of development mode: reset the cache, pause, sleep, abort requests, look inside, call the worker.

A client that may call them can stop everybody's work, so they are there only with `--dev-mode`. Queries are read as
vLLM's routes read them; where a server has several models, `model` names one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import Field

from weft.config.machine import Machine
from weft.server.context import ServerContext
from weft.server.errors import ApiError, bad_field
from weft.server.openai.schemas import Body, Int, Object
from weft.version import __version__


class AbortBody(Body):
    """POST /abort_requests: ids of responses (`chatcmpl-…`), or the ids that clients gave their requests."""

    request_ids: list[str]


class RpcBody(Body):
    """POST /collective_rpc: a method of the worker, by name. timeout: seconds; null: no limit."""

    method: str
    args: list[Any] = Field(default_factory=list)
    kwargs: Object = Field(default_factory=dict)
    timeout: float | Int | None = None


def development_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`; without development mode, none."""
    router = APIRouter()
    if context.options.dev_mode:
        _add_pauses(router, context)
        _add_sleep(router, context)
        _add_insides(router, context)
    return router


def _add_pauses(router: APIRouter, context: ServerContext) -> None:
    @router.post("/reset_prefix_cache")
    async def reset_prefix_cache(request: Request) -> dict[str, Any]:
        return {"success": await context.loaded_of_query(request).engine.reset_prefix_cache()}

    @router.post("/reset_mm_cache")
    @router.post("/reset_encoder_cache")
    async def reset_mm_cache(request: Request) -> dict[str, Any]:
        await context.loaded_of_query(request).engine.reset_mm_cache()
        return {"success": True}

    @router.post("/pause")
    async def pause(request: Request) -> dict[str, Any]:
        clear_cache = _flag(request, "clear_cache", True)
        engine = context.loaded_of_query(request).engine
        await engine.pause_generation(mode=_pause_mode(request), clear_cache=clear_cache)
        return {"status": "paused"}

    @router.post("/resume")
    async def resume(request: Request) -> dict[str, Any]:
        await context.loaded_of_query(request).engine.resume_generation()
        return {"status": "resumed"}

    @router.get("/is_paused")
    async def is_paused(request: Request) -> dict[str, Any]:
        return {"is_paused": await context.loaded_of_query(request).engine.is_paused()}

    @router.post("/abort_requests")
    async def abort_requests(request: Request) -> dict[str, Any]:
        parsed = await context.read(request, AbortBody)
        return {"aborted": sum([await served.abort(parsed.body.request_ids) for served in context.models.loaded])}


def _add_sleep(router: APIRouter, context: ServerContext) -> None:
    @router.post("/sleep")
    async def sleep(request: Request) -> dict[str, Any]:
        level = _choice(request, "level", "1", ("0", "1", "2"))
        await context.loaded_of_query(request).engine.sleep(level=int(level), mode=_pause_mode(request))
        return {"status": "sleeping"}

    @router.post("/wake_up")
    async def wake_up(request: Request) -> dict[str, Any]:
        engine = context.loaded_of_query(request).engine
        await engine.wake_up(request.query_params.getlist("tags") or None)
        return {"status": "sleeping" if await engine.is_sleeping() else "awake"}

    @router.get("/is_sleeping")
    async def is_sleeping(request: Request) -> dict[str, Any]:
        return {"is_sleeping": await context.loaded_of_query(request).engine.is_sleeping()}


def _add_insides(router: APIRouter, context: ServerContext) -> None:
    @router.get("/server_info")
    async def server_info(request: Request) -> Response:
        as_text = _choice(request, "config_format", "text", ("text", "json")) == "text"
        engine = context.loaded_of_query(request).engine
        config = dataclasses.asdict(engine.config)
        answer = {"weft_config": repr(engine.config) if as_text else config, "version": __version__,
                  "engine": msgspec.to_builtins(engine.info), "machine": dataclasses.asdict(Machine.detect())}
        return Response(msgspec.json.encode(answer, enc_hook=repr), media_type="application/json")

    @router.post("/collective_rpc")
    async def collective_rpc(request: Request) -> dict[str, Any]:
        body = (await context.read(request, RpcBody)).body
        if not body.method.isidentifier():      # no functions of modules: a client names methods of the worker only
            raise bad_field("method", body.method, expected="the name of a method of the worker")
        try:
            results = await context.loaded_of_query(request).engine.collective_rpc(
                body.method, body.timeout, body.args, body.kwargs)
        except TimeoutError as error:
            raise ApiError(408, f"{body.method} did not end within {body.timeout} s.", "timeout") from error
        return {"results": results}


def _pause_mode(request: Request) -> str:
    """The query's `mode`; older clients say `wait_for_inflight_requests`."""
    default = "wait" if _flag(request, "wait_for_inflight_requests", False) else "abort"
    return _choice(request, "mode", default, ("abort", "wait", "keep"))


def _flag(request: Request, name: str, default: bool) -> bool:
    value = _choice(request, name, str(default).lower(), ("true", "false", "1", "0", "True", "False"))
    return value.lower() in ("true", "1")


def _choice(request: Request, name: str, default: str, choices: Sequence[str]) -> str:
    value = request.query_params.get(name, default)
    if value not in choices:
        raise bad_field(name, value, expected=f"one of {', '.join(choices)}")
    return value
