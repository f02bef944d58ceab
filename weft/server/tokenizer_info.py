"""GET /tokenizer_info: the tokenizer's settings, special tokens and chat template; only where the server shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from weft.server.context import ServerContext
from weft.server.served import ServedModel
from weft.text.mistral_tokenizer import MistralTokenizer

_NAME = "tokenizer_config.json"
_PLACES = ("name_or_path", "auto_map", "_file")      # ends of keys that name files or code


def tokenizer_info_router(context: ServerContext) -> APIRouter:
    """The route, for the app of `context`; without the option, none."""
    router = APIRouter()
    if not context.options.enable_tokenizer_info_endpoint:
        return router

    @router.get("/tokenizer_info")
    async def tokenizer_info(request: Request) -> dict[str, Any]:
        served = await context.model_named(request, request.query_params.get("model"))
        return await served.work.prompts.run(_settings, served)

    return router


def _settings(served: ServedModel) -> dict[str, Any]:
    """The keys of the tokenizer's own file, without places of files, under what weft makes of them."""
    tokenizer = served.require_tokenizer()
    file = Path(served.engine.config.tokenizer.path or "") / _NAME
    stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    kept = {name: value for name, value in stated.items() if not name.endswith(_PLACES)}
    source = tokenizer.source
    named = {} if isinstance(source, MistralTokenizer) else source.special_tokens_map
    return {"tokenizer_class": type(source).__name__, **kept, **named,
            "vocab_size": tokenizer.vocab_size, "chat_template": tokenizer.chat_templates.get("default")}
