"""The playground page at `/`: serves the static files of `playground/`. The page loads nothing from other sites."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePath

from fastapi import APIRouter, Request, Response

# The page may run and load only its own files, so markup in a model's answer cannot run or load anything either.
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
           "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def page_router() -> APIRouter:
    """The routes of the page's files."""
    router = APIRouter()
    for file in files("weft.server").joinpath("playground").iterdir():
        path = "/" if file.name == "index.html" else f"/playground/{file.name}"
        if (media_type := _TYPES.get(PurePath(file.name).suffix)) is not None:
            _add_file(router, path, file.read_bytes(), media_type)
    return router


def _add_file(router: APIRouter, path: str, content: bytes, media_type: str) -> None:
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache",
               "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff",
               "Referrer-Policy": "no-referrer"}

    async def send_file(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    router.add_api_route(path, send_file, methods=["GET", "HEAD"])
