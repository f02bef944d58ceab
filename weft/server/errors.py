"""HTTP errors in the shape that OpenAI's clients expect: one JSON object with an integer code and a dotted `param`.

This module maps weft's errors to HTTP statuses. The texts of unexpected errors go to the log only.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from weft.errors import EngineDeadError, NotBuiltError, QueueFullError, RequestError

logger = logging.getLogger(__name__)

TYPES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError", 405: "MethodNotAllowedError",
         413: "RequestEntityTooLargeError", 500: "InternalServerError", 501: "NotImplementedError",
         503: "ServiceUnavailableError"}
_INTERNAL = "weft failed to serve this request; the server's log says why."


class ApiError(Exception):
    """An error response. param: the dotted path of the wrong field."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = TYPES.get(self.status, "BadRequestError" if self.status < 500 else "InternalServerError")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}


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
        case QueueFullError() | EngineDeadError():
            return ApiError(503, str(error))
        case HTTPException():
            return ApiError(error.status_code, str(error.detail))
    logger.error("request failed", exc_info=error)
    return ApiError(500, _INTERNAL)


def error_response(error: BaseException, headers: dict[str, str] | None = None) -> Response:
    """The JSON response for `error`."""
    api_error = as_api_error(error)
    return Response(msgspec.json.encode(api_error.body()), api_error.status, headers, media_type="application/json")


def install_error_handlers(app: Starlette) -> None:
    """Make every error response of `app` an OpenAI error object, also for unknown paths and methods."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            reason = {404: f"There is nothing at {request.url.path}.",
                      405: f"{request.method} is not a method of {request.url.path}."}.get(error.status_code)
            return error_response(ApiError(error.status_code, reason or str(error.detail)), dict(error.headers or {}))
        return error_response(error)

    async def unforeseen(request: Request, error: Exception) -> Response:
        return error_response(ApiError(500, _INTERNAL))      # starlette raises the error again: the server logs it

    async def nobody(request: Request, error: Exception) -> Response:
        return Response(status_code=499)

    for kind in (ApiError, RequestError, NotBuiltError, QueueFullError, EngineDeadError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(ClientGone, nobody)
    app.add_exception_handler(Exception, unforeseen)
