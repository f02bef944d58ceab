"""`ServerOptions`: the options of the HTTP server, under the names of the command-line flags.

The module is cheap to import: the command line needs it before any HTTP package is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from weft.errors import ConfigError

CONTENT_FORMATS = ("auto", "string", "openai")
FINGERPRINT_MODES = ("full", "hash", "custom", "none")
LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Options of `weft serve` besides the engine's. ConfigError names the wrong field.

    api_key: the valid keys for the guarded routes (`auth.py`); empty: no key is needed.
    api_key_file: a file with more keys, a line `KEY` or `KEY NAME` for each, the name for logs; lines that begin with #
        are no keys.
    cache_per_key: a request shares cached prefixes only with requests of the same key (`cache_domain.py`).
    allowed_origins: origins whose web pages may read responses (CORS); empty: only the server's own page.
    trust_request_chat_template: allow a chat template in a request (a template is a program that the server runs).
    max_body_bytes: larger request bodies are refused with status 413.
    strict_fields: refuse unknown fields of request bodies, instead of ignoring them with a notice.
    fingerprint_mode: the `system_fingerprint` of answers: full (weft-VERSION-HASH), hash, custom (`fingerprint_value`)
    or none. The hash is of the weights, of the version, and of options that answers depend on.
    enable_tokenizer_info_endpoint: adds GET /tokenizer_info, which shows the tokenizer's settings and chat template.
    disable_fastapi_docs: leave out /docs and /openapi.json.
    responses_store_bytes: memory for responses of /v1/responses that clients may read again; 0: none is stored.
    dev_mode: adds the routes of `development.py`, by which a client can stop the server's work.
    enable_log_requests: a log line for each request that has ended; at log level DEBUG its prompt, too.
    enable_log_outputs: these lines have the texts of the answers.
    max_log_len: characters of a text in such a line; None: all.
    disable_access_log_for_endpoints: paths whose requests have no line in the access log, with commas between them.
    otlp_traces_endpoint: URL of a collector that gets a span of each request, by OTLP over HTTP; None: none is made.
    model_dir, models: several models, which are loaded when requests name them; see docs/serving.md.
    keep_alive: how long a model stays loaded without requests: seconds, or a duration such as "5m"; -1: forever.
    load_timeout: seconds that a request waits for its model to be loaded.
    models_memory_bytes: memory for all models together; None: `gpu_memory_utilization` of what is free at start.
    shutdown_timeout: seconds that running requests have to finish after SIGINT or SIGTERM.
    stall_timeout: seconds without a token, while requests run, after which /health answers 503.
    spare_engine: keep a process that has imported everything, so that an engine that dies is back sooner.
    """

    host: str = "127.0.0.1"
    port: int = 8000                                   # 0: any free port
    uds: str | None = None                             # a Unix socket's path, instead of host and port
    root_path: str = ""
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    api_key: tuple[str, ...] = ()
    api_key_file: str | None = None
    cache_per_key: bool = False
    allowed_origins: tuple[str, ...] = ()
    allowed_methods: tuple[str, ...] = ("*",)
    allowed_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    enable_request_id_headers: bool = False
    response_role: str = "assistant"
    chat_template_content_format: str = "auto"
    trust_request_chat_template: bool = False
    default_chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    tool_call_parser: str | None = None                # None: the format that the chat template tells
    tool_parser_plugin: str | None = None              # a Python file that registers parsers
    reasoning_parser_plugin: str | None = None
    exclude_tools_when_tool_choice_none: bool = False
    return_tokens_as_token_ids: bool = False
    enable_force_include_usage: bool = False
    fingerprint_mode: str = "full"
    fingerprint_value: str | None = None
    strict_fields: bool = False
    enable_tokenizer_info_endpoint: bool = False
    enable_playground: bool = True
    disable_fastapi_docs: bool = False
    responses_store_bytes: int = 64 * 2**20
    dev_mode: bool = False
    model_dir: str | None = None                       # a folder: each checkpoint and GGUF file in it is a model
    models: str | None = None                          # a TOML, JSON or YAML file that lists models
    keep_alive: str | None = None                      # None: one model stays, models of several 5 minutes
    load_timeout: float = 300.0
    models_memory_bytes: int | None = None
    max_body_bytes: int = 32 * 2**20
    uvicorn_log_level: str = "info"
    enable_log_requests: bool = False
    enable_log_outputs: bool = False
    max_log_len: int | None = None
    disable_uvicorn_access_log: bool = False
    disable_access_log_for_endpoints: str = ""
    otlp_traces_endpoint: str | None = None
    shutdown_timeout: float = 10.0
    stall_timeout: float = 120.0
    spare_engine: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.port, bool) or not isinstance(self.port, int) or not 0 <= self.port <= 65535:
            raise ConfigError("port", self.port, expected="an integer from 0 (a free port) to 65535")
        if any(not key or not key.isascii() for key in self.api_key):
            raise ConfigError("api_key", "(not shown)", expected="keys of ASCII characters, none empty")
        if self.api_key_file == "":
            raise ConfigError("api_key_file", "", expected="a path")
        if self.cache_per_key and not self.api_key and self.api_key_file is None:
            raise ConfigError("cache_per_key", True, expected="API keys", hint="Give --api-key or --api-key-file.")
        if self.chat_template_content_format not in CONTENT_FORMATS:
            raise ConfigError("chat_template_content_format", self.chat_template_content_format,
                              expected=f"one of {', '.join(CONTENT_FORMATS)}")
        if self.uvicorn_log_level not in LOG_LEVELS:
            raise ConfigError("uvicorn_log_level", self.uvicorn_log_level, expected=f"one of {', '.join(LOG_LEVELS)}")
        if self.enable_log_outputs and not self.enable_log_requests:
            raise ConfigError("enable_log_outputs", True, expected="enable_log_requests with it",
                              hint="The answers are part of the requests' log lines.")
        if self.max_log_len is not None and self.max_log_len < 0:
            raise ConfigError("max_log_len", self.max_log_len, expected="at least 0")
        if self.otlp_traces_endpoint is not None:
            _check_url("otlp_traces_endpoint", self.otlp_traces_endpoint)
        if self.fingerprint_mode not in FINGERPRINT_MODES:
            raise ConfigError("fingerprint_mode", self.fingerprint_mode,
                              expected=f"one of {', '.join(FINGERPRINT_MODES)}")
        if (self.fingerprint_mode == "custom") != bool(self.fingerprint_value):
            raise ConfigError("fingerprint_value", self.fingerprint_value,
                              expected="a text with --fingerprint-mode custom, and none without it")
        if self.max_body_bytes < 1024:
            raise ConfigError("max_body_bytes", self.max_body_bytes, expected="at least 1024")
        if self.responses_store_bytes < 0:
            raise ConfigError("responses_store_bytes", self.responses_store_bytes, expected="at least 0")
        if (self.ssl_keyfile is None) != (self.ssl_certfile is None):
            raise ConfigError("ssl_certfile", self.ssl_certfile,
                              expected="both --ssl-keyfile and --ssl-certfile, or none")
        if not 0 <= self.shutdown_timeout < float("inf"):
            raise ConfigError("shutdown_timeout", self.shutdown_timeout, expected="seconds, at least 0")
        if not 0 < self.load_timeout < float("inf"):
            raise ConfigError("load_timeout", self.load_timeout, expected="seconds above 0")
        if self.models_memory_bytes is not None and self.models_memory_bytes < 1:
            raise ConfigError("models_memory_bytes", self.models_memory_bytes, expected="at least 1")
        if not 2 <= self.stall_timeout < float("inf"):      # an idle engine gives a sign of life each second
            raise ConfigError("stall_timeout", self.stall_timeout, expected="seconds, at least 2")

    @property
    def asks_for_key(self) -> bool:
        """Whether guarded routes need a key."""
        return bool(self.api_key) or self.api_key_file is not None

    @property
    def silent_paths(self) -> tuple[str, ...]:
        """The paths in `disable_access_log_for_endpoints`."""
        return tuple(path.strip() for path in self.disable_access_log_for_endpoints.split(",") if path.strip())


def _check_url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigError(field, url, expected="a URL like http://localhost:4318/v1/traces",
                          hint="weft sends OTLP over HTTP, not gRPC.")
