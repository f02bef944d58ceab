"""POST /v1/responses and the routes of stored responses, in OpenAI's shape: retrieve, cancel, delete, input items.

A body becomes a chat body (`request.py`), so that a response is a turn like a chat's, under the same checks.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from weft.server.context import ServerContext
from weft.server.disconnect import started_stream, until_disconnect
from weft.server.errors import ApiError, bad_field, renamed_fields
from weft.server.openai.prompts import read_chat
from weft.server.openai.responses.job import Job
from weft.server.openai.responses.request import chat_fields, input_messages, logprob_fields
from weft.server.openai.responses.schemas import InputBody, ResponsesBody
from weft.server.openai.responses.store import ResponseStore, Stored
from weft.server.openai.schemas import ChatBody, Parsed, parse
from weft.server.openai.turn import prepare_turn
from weft.server.request_fields import ignored_header
from weft.server.served import ServedModel

# Field of a chat body -> the field of this route that it comes from.
_NAMES = {"max_completion_tokens": "max_output_tokens", "messages": "input", "reasoning_effort": "reasoning.effort",
          "response_format": "text.format"}
_ENDED = ("completed", "incomplete")


def responses_router(context: ServerContext) -> APIRouter:
    """The routes, for the app of `context`, with a store of their own."""
    router, store = APIRouter(), ResponseStore(context.options.responses_store_bytes)
    context.metrics.watch_cache("responses_store", "stored responses", lambda: store.num_bytes, store.max_bytes)

    @router.post("/v1/responses")
    async def create(request: Request) -> Response:
        parsed = await context.read(request, ResponsesBody)
        body = parsed.body
        served = await context.model(request, body)
        _check_background(body, store)
        with renamed_fields(_NAMES):
            conversation, chat = await served.work.prompts.run(_chat, served, store, parsed)
            turn = await until_disconnect(
                request, prepare_turn(served, request, chat, prefix="resp_", has_own_id=True))
        job, headers = Job(turn, body, conversation, store), ignored_header(parsed.ignored)
        if body.background:
            context.hold_until_done(request, job.start())
        if body.stream:
            events = job.stream() if job.log is None else job.log.read(0)
            return await started_stream(request, events, headers)
        if not body.background:
            await until_disconnect(request, job.run())
        return _json(job.record.response, headers)

    @router.post("/v1/responses/input_tokens")
    async def input_tokens(request: Request) -> Response:
        parsed = await context.read(request, InputBody)
        served = await context.model(request, parsed.body)
        with renamed_fields(_NAMES):
            _, chat = await served.work.prompts.run(_chat, served, store, parsed)
            prompt = await read_chat(served, chat.body, "messages", add_special_tokens=False)
        return _json({"object": "response.input_tokens", "input_tokens": len(prompt.token_ids)},
                     ignored_header(parsed.ignored))

    _add_stored(router, store)
    return router


def _add_stored(router: APIRouter, store: ResponseStore) -> None:
    @router.get("/v1/responses/{response_id}")
    async def retrieve(request: Request, response_id: str) -> Response:
        stored = store.get(response_id)
        if request.query_params.get("stream", "false") != "true":
            return _json(stored.response)
        if stored.log is None:
            raise ApiError(400, "stream: only a response that was made with background and stream true has events to "
                           "read again.", "stream")
        after = request.query_params.get("starting_after", "-1")
        if not after.removeprefix("-").isdecimal() or len(after) > 10:
            raise bad_field("starting_after", after[:40], expected="the number of an event")
        return await started_stream(request, stored.log.read(int(after) + 1), {})

    @router.delete("/v1/responses/{response_id}")
    async def delete(response_id: str) -> Response:
        store.delete(response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    @router.post("/v1/responses/{response_id}/cancel")
    async def cancel(response_id: str) -> Response:
        stored = store.get(response_id)
        if stored.task is None:
            raise ApiError(400, "Only a response that was made with background true can be cancelled.", "response_id")
        stored.task.cancel()
        await asyncio.gather(stored.task, return_exceptions=True)
        return _json(stored.response)

    @router.get("/v1/responses/{response_id}/input_items")
    async def items(request: Request, response_id: str) -> Response:
        found = store.get(response_id).input
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise bad_field("order", order, expected="asc or desc")
        found = found if order == "asc" else found[::-1]
        return _json({"object": "list", "data": found, "has_more": False, "first_id": found[0]["id"],
                      "last_id": found[-1]["id"]})


def _check_background(body: ResponsesBody, store: ResponseStore) -> None:
    if not body.background:
        return
    if not body.store or not store.max_bytes:
        raise bad_field("background", True, expected="false without a store",
                        hint="Send store true to a server with --responses-store-bytes above 0.")


def _chat(served: ServedModel, store: ResponseStore, parsed: Parsed[Any]
          ) -> tuple[list[dict[str, Any]], Parsed[ChatBody]]:
    """The conversation without instructions, and the chat body that a body of this route means."""
    body: InputBody = parsed.body
    earlier = [] if body.previous_response_id is None else _earlier(store.get(
        body.previous_response_id, "previous_response_id"))
    conversation = [*earlier, *input_messages(body.input)]
    fields = chat_fields(body, conversation, knows_developer=served.require_renderer().reads("developer"))
    if isinstance(body, ResponsesBody):
        fields |= {name: value for name, value in {
            "stream": body.stream, "max_completion_tokens": body.max_output_tokens, "priority": body.priority,
            "cache_salt": body.cache_salt, "chat_template_kwargs": body.chat_template_kwargs,
            **logprob_fields(body), **parsed.sampling}.items() if value is not None}
    return conversation, parse(ChatBody, fields)


def _earlier(stored: Stored) -> list[dict[str, Any]]:
    if stored.response["status"] not in _ENDED:
        raise bad_field("previous_response_id", stored.response["id"], expected="a response that has ended",
                        hint=f"Its status is {stored.response['status']}.")
    return stored.messages


def _json(value: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")
