"""Fields of bodies of Anthropic's /v1/messages, which vLLM's server answers, too.

The rows are as those of `requests.py`; a row has no `versions`, because the fields are Anthropic's.
"""

from __future__ import annotations

from weft.compat.vllm.options.row import NO_EFFECT, REFUSED, SAME, Option, table

_RECORDS = "weft keeps no records of requests"
_ONE_SPEED = "requests are served alike; `priority` orders them"
_PREFIXES = "prefixes are cached by their tokens, without marks"
_NO_TOOLS = "weft runs no tools itself: give tools with an input_schema, and run them in the client."

MESSAGES = table((
    Option("model", "", SAME),
    Option("messages", "", SAME, say="text, tool calls and their results, thinking, a user's images in base64; of "
                                     "documents those of text"),
    Option("max_tokens", "", SAME),
    Option("system", "", SAME),
    Option("stop_sequences", "", SAME),
    Option("stream", "", SAME),
    Option("temperature", "", SAME),
    Option("top_p", "", SAME),
    Option("top_k", "", SAME),
    Option("tools", "", SAME, say="tools with an `input_schema`; no tools that the server would run"),
    Option("tool_choice", "", SAME),
    Option("thinking", "", SAME, say="for models whose reasoning is parsed; then `budget_tokens` is its longest"),
    Option("output_config", "", SAME, say="`effort` goes to the chat template, `format` is a JSON schema"),
    Option("metadata", "", NO_EFFECT, say=_RECORDS),
    Option("service_tier", "", NO_EFFECT, say=_ONE_SPEED),
    Option("speed", "", NO_EFFECT, say=_ONE_SPEED),
    Option("inference_geo", "", NO_EFFECT, say="the server is where it is"),
    Option("cache_control", "", NO_EFFECT, say=_PREFIXES),
    Option("diagnostics", "", NO_EFFECT, say=_RECORDS),
    Option("user_profile_id", "", NO_EFFECT, say=_RECORDS),
    Option("workspace_id", "", NO_EFFECT, say=_RECORDS),
    Option("container", "", REFUSED, say=_NO_TOOLS),
    Option("mcp_servers", "", REFUSED, off=([],), say=_NO_TOOLS),
    Option("context_management", "", REFUSED, say="weft changes no conversation: send what the model shall see."),
))
