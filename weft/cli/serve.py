"""`weft serve`: passes engine options and server options to `weft.server.run`.

The server is imported only when it starts, so that `weft serve --help` is fast.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from weft.cli.environment import api_key, server_dev_mode
from weft.cli.options import add_engine_options, add_hidden, engine_args, given_of
from weft.cli.parser import Parser
from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.row import SAME
from weft.compat.vllm.options.serve import SERVE
from weft.config.flags import add_fields, given
from weft.engine.process.spare import CORE, Spare
from weft.server.options import ServerOptions

GROUPS: dict[str, dict[str, str]] = {
    "server": {
        "host": "address to listen on; 0.0.0.0 for every network",
        "port": "port to listen on; 0: a free one",
        "uds": "Unix socket to listen on, instead of host and port",
        "api_key": "a key that opens /v1, repeatable; none: no key is asked for",
        "api_key_file": "file with more keys, lines KEY or KEY NAME (for logs); keys of a command line are seen by who "
                        "lists processes",
        "cache_per_key": "each key shares cached prefixes with itself only, so that times tell nothing of others",
        "root_path": "path under which a proxy shows the server",
        "ssl_keyfile": "private key for HTTPS",
        "ssl_certfile": "certificate for HTTPS",
        "allowed_origins": "web pages of these origins may read answers; none: only our own page",
        "allowed_methods": "methods that such pages may use",
        "allowed_headers": "headers that such pages may send",
        "allow_credentials": "such pages may send cookies",
        "enable_request_id_headers": "answer with an X-Request-Id header",
        "enable_playground": "serve the playground page at /",
        "disable_fastapi_docs": "leave out /docs and /openapi.json",
        "fingerprint_mode": "system_fingerprint of answers: full (weft-VERSION-HASH), hash, custom or none",
        "fingerprint_value": "the text of --fingerprint-mode custom",
        "strict_fields": "refuse requests with unknown fields",
        "enable_tokenizer_info_endpoint": "serve /tokenizer_info",
        "dev_mode": "serve the development routes, which can stop the server's work",
        "max_body_bytes": "longest request body",
        "responses_store_bytes": "memory for responses that clients may go on from; 0: none",
        "shutdown_timeout": "seconds that running requests get to finish when the server stops",
        "stall_timeout": "seconds without a token, while requests run, after which /health answers 503",
        "spare_engine": "keep a process waiting that replaces an engine that dies (155 MB of memory)",
        "uvicorn_log_level": "critical, error, warning, info, debug or trace",
        "enable_log_requests": "a log line for each request that has ended; its prompt with WEFT_LOGGING_LEVEL=DEBUG",
        "enable_log_outputs": "these lines have the texts of the answers",
        "max_log_len": "characters of a text in such a line; none: all",
        "otlp_traces_endpoint": "collector that gets a span of each request (OTLP over HTTP); needs weft[otel]",
        "disable_uvicorn_access_log": "no log line for each request",
        "disable_access_log_for_endpoints": "no such line for these paths, with commas between them",
    },
    "several models": {
        "model_dir": "folder: each checkpoint and GGUF file in it is a model, loaded when a request names it",
        "models": "TOML, JSON or YAML file that lists models, likewise; see docs/serving.md",
        "keep_alive": "how long a model stays loaded without requests: seconds, 5m, 0 or -1 (forever); not given: one "
                      "model stays, models of several 5m",
        "load_timeout": "seconds that a request waits for its model to be loaded",
        "models_memory_bytes": "memory for all models together; none: --gpu-memory-utilization of what is free at "
                               "start",
    },
    "chat": {
        "response_role": "role of the answers",
        "chat_template_content_format": "what the template takes as content: auto, string or openai",
        "trust_request_chat_template": "let a request bring its own chat template",
        "default_chat_template_kwargs": "JSON object of arguments for the chat template",
        "tool_call_parser": "format of the model's tool calls; not given: what the chat template tells; none: off",
        "tool_parser_plugin": "Python file that registers parsers of tool calls",
        "reasoning_parser_plugin": "Python file that registers parsers of reasoning",
        "exclude_tools_when_tool_choice_none": "with tool_choice none the chat template gets no tools",
        "return_tokens_as_token_ids": "logprobs name tokens as token_id:N",
        "enable_force_include_usage": "send token counts with every stream",
    },
}


def add_arguments(parser: Parser) -> None:
    """Engine options, server options, and hidden flags for the other ones of `vllm serve`."""
    parser.usage = "weft serve [MODEL] [options]"
    own = {name for helps in GROUPS.values() for name in helps}
    add_engine_options(parser, positional_model=True, other=own)
    for title, helps in GROUPS.items():
        add_fields(parser.add_argument_group(title), ServerOptions, helps)
    for option in SERVE.values():
        if option.state != SAME and option.name not in ENGINE:
            add_hidden(parser, option)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    args, server = engine_args(options), server_options(options, os.environ)
    with Spare(CORE) as spare:      # imports torch while this process imports the server
        from weft.server.run import serve

        serve(args, server, spare)
    return 0


def server_options(options: argparse.Namespace, environ: Mapping[str, str]) -> ServerOptions:
    """The ServerOptions of a command line and the environment."""
    chosen = given(options, ServerOptions) | accept(SERVE, given_of(options, SERVE), known=())
    key, dev_mode = api_key(environ), server_dev_mode(environ)
    if key is not None:
        chosen.setdefault("api_key", (key,))
    if dev_mode is not None:
        chosen.setdefault("dev_mode", dev_mode)
    return ServerOptions(**chosen)
