"""`build_app`: builds the HTTP server as an ASGI app from its routers and layers (middleware)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from weft.server.anthropic.messages import messages_router
from weft.server.auth import ApiKey, ApiKeys, read_keys
from weft.server.context import ServerContext
from weft.server.development import development_router
from weft.server.elsewhere import elsewhere_router
from weft.server.errors import install_error_handlers
from weft.server.http_metrics import HttpMetrics
from weft.server.invocations import invocations_router
from weft.server.model_pool.held import HeldModels
from weft.server.model_pool.pool import ModelPool
from weft.server.model_pool.routes import pool_router
from weft.server.off_routes import off_router
from weft.server.openai.chat import chat_router
from weft.server.openai.chat_batch import chat_batch_router
from weft.server.openai.completions import completions_router
from weft.server.openai.models import models_router
from weft.server.openai.responses.routes import responses_router
from weft.server.openai.tokenize import tokenize_router
from weft.server.openapi import docs_router
from weft.server.options import ServerOptions
from weft.server.origin import Origins
from weft.server.page import page_router
from weft.server.pooling.classify import classify_router
from weft.server.pooling.cohere import cohere_router
from weft.server.pooling.embeddings import embeddings_router
from weft.server.pooling.rerank import rerank_router
from weft.server.pooling.score import score_router
from weft.server.root_path import RootPath
from weft.server.speech.routes import speech_router
from weft.server.status import status_router
from weft.server.tokenizer_info import tokenizer_info_router
from weft.text.render import TEMPLATES
from weft.version import __version__


def build_app(models: ModelPool, options: ServerOptions, keys: Sequence[ApiKey] | None = None) -> FastAPI:
    """The app that serves `models`. The caller closes them, not the app.

    keys: those of the options, if they have been read already.
    """
    keys = read_keys(options) if keys is None else keys
    context = ServerContext(options, models, int(time.time()))
    context.metrics.watch_cache("chat_template_cache", "compiled chat templates, estimated",
                                lambda: TEMPLATES.num_bytes, TEMPLATES.max_bytes)
    app = FastAPI(title="weft", version=__version__, openapi_url=None, docs_url=None, redoc_url=None,
                  redirect_slashes=False)
    routers = [completions_router(context), chat_router(context), chat_batch_router(context), responses_router(context),
               messages_router(context), embeddings_router(context), classify_router(context), score_router(context),
               rerank_router(context), cohere_router(context),
               speech_router(context), models_router(context), pool_router(context), tokenize_router(context),
               tokenizer_info_router(context), status_router(context), development_router(context)]
    served = [route for router in routers for route in router.routes if isinstance(route, Route)]
    routers.append(invocations_router(context, {route.path: route.endpoint for route in served}))
    if not options.disable_fastapi_docs:
        routers.append(docs_router(options))
    if options.enable_playground:
        routers.append(page_router())
    for router in (*routers, off_router(options), elsewhere_router()):
        app.include_router(router)
    install_error_handlers(app, models.audit.note)
    _add_layers(app, context, keys)
    return app


def _add_layers(app: FastAPI, context: ServerContext, keys: Sequence[ApiKey]) -> None:
    """Adds the layers, the outermost last: all layers see the root path, and metrics also count refused requests."""
    options = context.options
    app.add_middleware(HeldModels, models=context.models)
    if keys:
        app.add_middleware(ApiKeys, keys=keys, audit=context.models.audit)
    if options.allowed_origins:
        app.add_middleware(CORSMiddleware, allow_origins=options.allowed_origins,
                           allow_methods=options.allowed_methods, allow_headers=options.allowed_headers,
                           allow_credentials=options.allow_credentials)
    app.add_middleware(Origins, echoes_ids=options.enable_request_id_headers)
    app.add_middleware(HttpMetrics, registry=context.metrics.registry)
    if options.root_path.strip("/"):
        app.add_middleware(RootPath, root_path=options.root_path)
