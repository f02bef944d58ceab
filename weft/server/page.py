"""Pages that come with weft: serves the files of a folder such as `playground/`. They load nothing from other sites."""

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
    """The routes of the playground's files. The page is at `/`."""
    router = APIRouter()
    add_files(router, "playground", page="/", folder="/playground")
    return router


def add_files(router: APIRouter, source: str, *, page: str, folder: str) -> None:
    """Adds a route for each file of the folder `source` beside this module.

    page: the path of its index.html. folder: the path that the others lie under.
    """
    for file in files("weft.server").joinpath(source).iterdir():
        path = page if file.name == "index.html" else f"{folder}/{file.name}"
        if (media_type := _TYPES.get(PurePath(file.name).suffix)) is not None:
            _add_file(router, path, file.read_bytes(), media_type)


def _add_file(router: APIRouter, path: str, content: bytes, media_type: str) -> None:
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache",
               "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff",
               "Referrer-Policy": "no-referrer"}

    async def send_file(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    router.add_api_route(path, send_file, methods=["GET", "HEAD"])
