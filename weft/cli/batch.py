"""Answers batch lines through the HTTP app, called in this process without a network. Slow to import."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx

from weft.async_llm import AsyncLLM
from weft.cli.batch_file import Line, entry
from weft.config.engine_args import EngineArgs
from weft.server.app import build_app
from weft.server.model_pool.pool import ModelPool
from weft.server.options import ServerOptions


def answer_all(args: EngineArgs, lines: Sequence[Line], *, max_concurrency: int) -> list[dict[str, Any]]:
    """One output entry for each line, in order."""
    engine = AsyncLLM.from_engine_args(args)
    try:
        return asyncio.run(_answer_all(engine, lines, max_concurrency))
    finally:
        engine.shutdown()


async def _answer_all(engine: AsyncLLM, lines: Sequence[Line], max_concurrency: int) -> list[dict[str, Any]]:
    options = ServerOptions()
    transport = httpx.ASGITransport(build_app(ModelPool.of(engine, options), options), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://weft", timeout=None) as client:
        free = asyncio.Semaphore(max_concurrency)

        async def one(line: Line) -> dict[str, Any]:
            if line.error is not None:
                return entry(line)
            async with free:
                answer = await client.post(line.url, json=line.body)
            return entry(line, status=answer.status_code, request_id=answer.headers.get("x-request-id"),
                         body=answer.json())

        return list(await asyncio.gather(*map(one, lines)))
