"""`ROUTES`: what every route of the server is for, and the schema of its body. The API's documentation is made of it.

A test compares the table with the routes that the app has.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.server.anthropic.schemas import CountTokensBody, MessagesBody
from weft.server.development import AbortBody, RpcBody
from weft.server.model_pool.routes import LoadBody, UnloadBody
from weft.server.openai.responses.schemas import InputBody, ResponsesBody
from weft.server.openai.schemas import BatchChatBody, Body, ChatBody, CompletionBody, DetokenizeBody, TokenizeBody
from weft.server.options import ServerOptions
from weft.server.pooling.schemas import ClassifyBody, CohereBody, EmbeddingBody, PoolingBody, RerankBody, ScoreBody
from weft.server.speech.schemas import TranscriptionBody, TranslationBody


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDoc:
    """One route. streams: it can answer with server-sent events. has_file: its body is a form with a file. query: names
    of the query's parameters, each with its values. option: the server's option without which the route is not there.
    """

    method: str
    path: str
    summary: str
    body: type[Body] | None = None
    streams: bool = False
    has_file: bool = False
    query: tuple[tuple[str, tuple[str, ...]], ...] = ()
    option: str | None = None

    def is_served(self, options: ServerOptions) -> bool:
        """True if the route is there under these options."""
        return self.option is None or bool(getattr(options, self.option.removeprefix("--").replace("-", "_")))


_DEV = "--dev-mode"
_MODE = ("mode", ("abort", "wait"))

ROUTES = (
    RouteDoc(method="POST", path="/v1/completions", summary="Continue prompts.", body=CompletionBody, streams=True),
    RouteDoc(method="POST", path="/v1/chat/completions", summary="Answer a conversation.", body=ChatBody, streams=True),
    RouteDoc(method="POST", path="/v1/chat/completions/batch", summary="Answer several conversations, one choice each.",
             body=BatchChatBody),
    RouteDoc(method="POST", path="/v1/responses", summary="Answer a conversation of items.", body=ResponsesBody,
             streams=True),
    RouteDoc(method="POST", path="/v1/responses/input_tokens", summary="Count the tokens of a response's input.",
             body=InputBody),
    RouteDoc(method="GET", path="/v1/responses/{response_id}", streams=True, query=(("stream", ("false", "true")),),
             summary="Read a stored response, or the events of one that is made in the background."),
    RouteDoc(method="DELETE", path="/v1/responses/{response_id}", summary="Forget a stored response."),
    RouteDoc(method="POST", path="/v1/responses/{response_id}/cancel", summary="End a response in the background."),
    RouteDoc(method="GET", path="/v1/responses/{response_id}/input_items", summary="Read the input of a response.",
             query=(("order", ("asc", "desc")),)),
    RouteDoc(method="POST", path="/v1/messages", summary="Answer a conversation, in Anthropic's shape.",
             body=MessagesBody, streams=True),
    RouteDoc(method="POST", path="/v1/messages/count_tokens", summary="Count the tokens of a conversation.",
             body=CountTokensBody),
    RouteDoc(method="POST", path="/v1/audio/transcriptions", summary="Write down what a file of audio says.",
             body=TranscriptionBody, streams=True, has_file=True),
    RouteDoc(method="POST", path="/v1/audio/translations", summary="Write down in English what a file of audio says.",
             body=TranslationBody, streams=True, has_file=True),
    RouteDoc(method="POST", path="/v1/embeddings", summary="Turn texts into vectors.", body=EmbeddingBody),
    RouteDoc(method="POST", path="/v2/embed", summary="Turn texts into vectors, in Cohere's shape.", body=CohereBody),
    RouteDoc(method="POST", path="/v1/embed", summary="As /v2/embed; without embedding_types a list of vectors.",
             body=CohereBody),
    RouteDoc(method="POST", path="/pooling", summary="What a pooling model makes of texts, as numbers.",
             body=PoolingBody),
    RouteDoc(method="POST", path="/classify", summary="Say the class of each text.", body=ClassifyBody),
    RouteDoc(method="POST", path="/score", summary="Say how well texts fit each other.", body=ScoreBody),
    RouteDoc(method="POST", path="/v1/score", summary="As /score.", body=ScoreBody),
    RouteDoc(method="POST", path="/rerank", summary="Rank documents by how well they fit a query.", body=RerankBody),
    RouteDoc(method="POST", path="/v1/rerank", summary="As /rerank.", body=RerankBody),
    RouteDoc(method="POST", path="/v2/rerank", summary="As /rerank.", body=RerankBody),
    RouteDoc(method="POST", path="/invocations", streams=True,
             summary="Answer a body of another route, which its fields and the model tell."),
    RouteDoc(method="GET", path="/v1/models", summary="List the models under each of their names, loaded or not."),
    RouteDoc(method="GET", path="/v1/models/{name}",
             summary="Describe a model; once it is loaded, in `meta` its sampling defaults, limits and layers."),
    RouteDoc(method="POST", path="/models/load", summary="Load a model, and wait until it is loaded.", body=LoadBody),
    RouteDoc(method="POST", path="/models/unload", summary="Unload a model that is not in use.", body=UnloadBody),
    RouteDoc(method="POST", path="/tokenize", summary="Turn a prompt or a conversation into token ids.",
             body=TokenizeBody),
    RouteDoc(method="POST", path="/detokenize", summary="Turn token ids into text.", body=DetokenizeBody),
    RouteDoc(method="GET", path="/tokenizer_info", summary="Show the tokenizer's settings and chat template.",
             option="--enable-tokenizer-info-endpoint"),
    RouteDoc(method="GET", path="/health", summary="200 while the server works, else 503."),
    RouteDoc(method="GET", path="/ping", summary="As /health; also POST."),
    RouteDoc(method="GET", path="/version", summary="The server's version."),
    RouteDoc(method="GET", path="/load", summary="The number of requests that are being served."),
    RouteDoc(method="GET", path="/metrics", summary="Metrics in the format of Prometheus."),
    RouteDoc(method="GET", path="/docs", summary="This API as a page."),
    RouteDoc(method="GET", path="/openapi.json", summary="This API as an OpenAPI document."),
    RouteDoc(method="POST", path="/reset_prefix_cache", summary="Forget all cached prefixes.", option=_DEV),
    RouteDoc(method="POST", path="/reset_mm_cache", option=_DEV,
             summary="Forget the encoder's rows of all media that no running request needs."),
    RouteDoc(method="POST", path="/reset_encoder_cache", summary="As /reset_mm_cache.", option=_DEV),
    RouteDoc(method="POST", path="/pause", summary="Hold all requests.", option=_DEV,
             query=(_MODE, ("clear_cache", ("true", "false")))),
    RouteDoc(method="POST", path="/resume", summary="Let requests run again.", option=_DEV),
    RouteDoc(method="GET", path="/is_paused", summary="Whether requests are held by a pause.", option=_DEV),
    RouteDoc(method="POST", path="/sleep", option=_DEV,
             summary="Forget cached prefixes and hold all requests; level 2 also gives back all memory of the engine.",
             query=(("level", ("0", "1", "2")), _MODE)),
    RouteDoc(method="POST", path="/wake_up", summary="Undo /sleep, in parts or as a whole.", option=_DEV,
             query=(("tags", ("weights", "kv_cache")),)),
    RouteDoc(method="GET", path="/is_sleeping", summary="Whether the server sleeps.", option=_DEV),
    RouteDoc(method="POST", path="/abort_requests", summary="End running requests.", body=AbortBody, option=_DEV),
    RouteDoc(method="GET", path="/server_info", summary="The engine's config and the machine.", option=_DEV,
             query=(("config_format", ("text", "json")),)),
    RouteDoc(method="POST", path="/collective_rpc", summary="Call a method of the engine's worker.", body=RpcBody,
             option=_DEV),
)
