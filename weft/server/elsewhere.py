"""Routes that other servers of language models have and weft does not: they answer 501 with a sentence, not 404.

A sentence says what weft lacks and, where there is one, what to do instead.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from weft.server.errors import ApiError, error_response

_VECTORS = "weft serves vectors at /v1/embeddings (OpenAI's shape), /v2/embed (Cohere's) and /pooling."
_PAIRS = "weft scores pairs of texts at /v1/score, and ranks texts at /v1/rerank."
_AUDIO = "weft gives no audio, and takes whole files of it: /v1/audio/transcriptions writes down what they say."
_IMAGES = "weft gives text only: it makes no images or videos."
_ADAPTERS = "weft runs no adapters yet: merge the adapter into the checkpoint (peft's merge_and_unload)."
_FILES = "weft keeps no files and jobs of clients; `weft run-batch` answers a file of requests."
_AGENTS = "weft keeps no assistants; /v1/responses and /v1/chat/completions answer conversations."
_TRAINING = "weft does not train models."
_JUDGES = "weft serves no moderation model."
_WEIGHTS = "weft does not change the weights of a running server: start it again with the new checkpoint."
_PROFILE = "weft has no profiler that a client can start; `weft bench` measures."
_DISAGGREGATED = "weft does not split a request over several servers."
_OTHER_API = "weft does not speak this API: send /v1/completions or /v1/chat/completions."
_SLOTS = "weft has no slots: prefixes are cached by themselves, and `cache_salt` keeps them apart."
_MODELS = "The models of a weft server are chosen at its start: `weft pull` downloads one, --models lists several."

# Sentence -> the paths that it is the answer of.
ELSEWHERE = {
    _VECTORS: ("/embed", "/embeddings", "/embedding", "/encode", "/api/embed", "/api/embeddings"),
    _PAIRS: ("/reranking", "/generative_scoring"),
    _AUDIO: ("/v1/audio/speech", "/v1/realtime",
             "/v1/realtime/sessions", "/v1/realtime/client_secrets"),
    _IMAGES: ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/videos"),
    _ADAPTERS: ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/lora-adapters", "/load_lora_adapter",
                "/unload_lora_adapter"),
    _FILES: ("/v1/files", "/v1/files/{rest:path}", "/v1/batches", "/v1/batches/{rest:path}", "/v1/uploads",
             "/v1/uploads/{rest:path}", "/v1/vector_stores", "/v1/vector_stores/{rest:path}", "/v1/messages/batches",
             "/v1/messages/batches/{rest:path}"),
    _AGENTS: ("/v1/assistants", "/v1/assistants/{rest:path}", "/v1/threads", "/v1/threads/{rest:path}",
              "/v1/conversations", "/v1/conversations/{rest:path}"),
    _TRAINING: ("/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/{rest:path}"),
    _JUDGES: ("/v1/moderations",),
    _WEIGHTS: ("/init_weight_transfer_engine", "/update_weights", "/update_weights_from_disk",
               "/update_weights_from_tensor", "/update_weights_from_distributed", "/init_weights_update_group",
               "/get_world_size", "/release_kv_cache_memory", "/release_memory_occupation",
               "/resume_memory_occupation"),
    _PROFILE: ("/start_profile", "/stop_profile"),
    _DISAGGREGATED: ("/inference/v1/generate", "/v1/completions/render", "/v1/chat/completions/render",
                     "/v1/systemone", "/scale_elastic_ep", "/is_scaling_elastic_ep"),
    _OTHER_API: ("/cohere/v2/chat", "/generate", "/generate_stream", "/completion", "/completions", "/infill",
                 "/apply-template", "/props", "/info", "/get_model_info", "/get_server_info", "/flush_cache",
                 "/open_session", "/close_session", "/api/generate", "/api/chat", "/api/tags", "/api/show", "/api/ps",
                 "/api/version"),
    _SLOTS: ("/slots", "/slots/{rest:path}"),
    _MODELS: ("/api/pull", "/api/delete", "/api/create", "/api/copy"),
}
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def elsewhere_router() -> APIRouter:
    """The routes. They read no body."""
    router = APIRouter()
    for sentence, paths in ELSEWHERE.items():
        for path in paths:
            _add(router, path, sentence)
    return router


def _add(router: APIRouter, path: str, sentence: str) -> None:
    async def refuse(request: Request) -> Response:
        path = request.url.path
        return error_response(ApiError(501, f"{path[:200]}: {sentence}"), path)

    router.add_api_route(path, refuse, methods=_METHODS, include_in_schema=False)
