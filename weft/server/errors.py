"""HTTP errors in the shape that OpenAI's clients expect: one JSON object with an integer code and a dotted `param`.

Under /v1/messages they have the shape that Anthropic's clients expect. This module maps weft's errors to HTTP statuses.
The texts of unexpected errors go to the log only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from weft.errors import EngineDeadError, NotBuiltError, QueueFullError, RequestError
from weft.server.log_line import log_line

logger = logging.getLogger(__name__)

TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 405: "MethodNotAllowedError",
         408: "RequestTimeoutError", 409: "ConflictError", 413: "RequestEntityTooLargeError", 429: "RateLimitError",
         500: "InternalServerError", 501: "NotImplementedError", 503: "ServiceUnavailableError"}
_ANTHROPIC_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 408: "timeout_error",
                    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error"}
_INTERNAL = "weft failed to serve this request; the server's log says why."


class ApiError(Exception):
    """An error response. param: the dotted path of the wrong field. retry_after: seconds, for the header."""

    def __init__(self, status: int, message: str, param: str | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.retry_after = status, message, param, retry_after

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = TYPES.get(self.status, "BadRequestError" if self.status < 500 else "InternalServerError")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}


def anthropic_body(error: ApiError) -> dict[str, Any]:
    """Anthropic's error object. It has no place for `param`; the message names the field."""
    default = "invalid_request_error" if error.status < 500 else "api_error"
    return {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(error.status, default), "message": error.message}}


class ClientGone(Exception):
    """The client closed its connection, so no response is sent."""


def bad_field(field: str, value: object, *, expected: str, hint: str = "") -> ApiError:
    """A status 400 with the text of weft's field errors (`RequestError`)."""
    return as_api_error(RequestError(field, value, expected=expected, hint=hint))


def dotted(field: str) -> str:
    """`messages[2].content` as `messages.2.content`."""
    return re.sub(r"\[([^\]]*)\]", r".\1", field)


def as_api_error(error: BaseException) -> ApiError:
    """The HTTP error for an exception. An unexpected one is logged and becomes a status 500 without details."""
    match error:
        case ApiError():
            return error
        case NotBuiltError():
            return ApiError(501, str(error), dotted(error.field))
        case RequestError():
            return ApiError(400, str(error), dotted(error.field))
        case QueueFullError():
            return ApiError(429, str(error), retry_after=1)
        case EngineDeadError():
            return ApiError(503, str(error))
        case HTTPException():
            return ApiError(error.status_code, str(error.detail))
    logger.error("request failed", exc_info=error)
    return ApiError(500, _INTERNAL)


@contextmanager
def renamed_fields(names: Mapping[str, str]) -> Iterator[None]:
    """Errors in the block that name a field (a key of `names`) name the client's own field (the value) instead."""
    try:
        yield
    except (ApiError, RequestError, NotBuiltError) as error:
        found = as_api_error(error)
        head, dot, rest = (found.param or "").partition(".")
        if head not in names:
            raise
        message = names[head] + found.message[len(head):] if found.message.startswith(head) else found.message
        raise ApiError(found.status, message, names[head] + dot + rest) from error


def error_response(error: BaseException, path: str, headers: dict[str, str] | None = None) -> Response:
    """The JSON response for `error` at a request of `path`."""
    api_error = as_api_error(error)
    if api_error.retry_after is not None:
        headers = {"Retry-After": str(api_error.retry_after), **(headers or {})}
    body = anthropic_body(api_error) if "/v1/messages" in path else api_error.body()
    return Response(msgspec.json.encode(body), api_error.status, headers, media_type="application/json")


def install_error_handlers(app: Starlette, note: Callable[[Request, Exception], None]) -> None:
    """Make every error response of `app` an OpenAI error object, also for unknown paths and methods.

    note: called for each error of weft, before its response.
    """

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            reason = {404: f"There is nothing at {request.url.path}.",
                      405: f"{request.method} is not a method of {request.url.path}."}.get(error.status_code)
            return error_response(ApiError(error.status_code, reason or str(error.detail)), request.url.path,
                                  dict(error.headers or {}))
        note(request, error)
        return error_response(error, request.url.path)

    async def unforeseen(request: Request, error: Exception) -> Response:
        origin = request.state.origin
        logger.error("request %s failed", log_line(id=origin.request_id))      # starlette raises it again, for the log
        return error_response(ApiError(500, _INTERNAL), request.url.path, origin.response_headers)

    async def nobody(request: Request, error: Exception) -> Response:
        return Response(status_code=499)

    for kind in (ApiError, RequestError, NotBuiltError, QueueFullError, EngineDeadError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(ClientGone, nobody)
    app.add_exception_handler(Exception, unforeseen)
