"""Fields of bodies of OpenAI's /v1/responses, which vLLM's server answers, too.

The rows are as those of `requests.py`; a row has no `versions`, because the fields are OpenAI's.
"""

from __future__ import annotations

from weft.compat.vllm.options.row import NO_EFFECT, NOT_YET, REFUSED, SAME, Option, table

_RECORDS = "weft keeps no records of requests"

RESPONSES = table((
    Option("model", "", SAME),
    Option("input", "", SAME, say="text, messages, function calls and their outputs, reasoning, a user's images as "
                                  "`data:` URLs; no files"),
    Option("instructions", "", SAME),
    Option("previous_response_id", "", SAME, say="of a response that is still stored"),
    Option("stream", "", SAME),
    Option("store", "", SAME, say="in memory, as long as `--responses-store-bytes` has room"),
    Option("background", "", SAME, say="with `store`"),
    Option("max_output_tokens", "", SAME),
    Option("temperature", "", SAME),
    Option("top_p", "", SAME),
    Option("tools", "", SAME, say="functions; no tools that the server would run"),
    Option("tool_choice", "", SAME),
    Option("parallel_tool_calls", "", SAME),
    Option("reasoning", "", SAME, say="`effort` goes to the chat template; the reasoning itself is given, no summary"),
    Option("text", "", SAME, say="`format`; `verbosity` has no effect"),
    Option("top_logprobs", "", SAME),
    Option("include", "", SAME, say="`message.output_text.logprobs`; others name what weft's answers do not have"),
    Option("metadata", "", SAME, say="given back with the response"),
    Option("user", "", SAME, say="given back with the response"),
    Option("priority", "", SAME),
    Option("cache_salt", "", SAME),
    Option("chat_template_kwargs", "", SAME),
    Option("truncation", "", REFUSED, off=("disabled",), say="Send fewer items; weft drops none by itself."),
    Option("max_tool_calls", "", NO_EFFECT, say="weft runs no tools itself"),
    Option("stream_options", "", NO_EFFECT, say="weft's events are not padded"),
    Option("service_tier", "", NO_EFFECT, say="requests are served alike; `priority` orders them"),
    Option("safety_identifier", "", NO_EFFECT, say=_RECORDS),
    Option("prompt_cache_key", "", NO_EFFECT, say="prefixes are cached by their tokens"),
    Option("prompt_cache_options", "", NO_EFFECT, say="prefixes are cached by their tokens"),
    Option("prompt_cache_retention", "", NO_EFFECT, say="prefixes are kept until their memory is needed"),
    Option("conversation", "", REFUSED, say="Send `previous_response_id`, or the items themselves."),
    Option("prompt", "", REFUSED, say="weft stores no prompts: send `instructions` and `input`."),
    Option("context_management", "", REFUSED, off=([],), say="weft changes no conversation."),
    Option("moderation", "", REFUSED, say="weft serves no moderation model."),
    Option("image", "", REFUSED, say="weft gives text only."),
    Option("background_options", "", REFUSED, say=NOT_YET),
    Option("access_programs", "", NO_EFFECT, say="weft has no such programs"),
))
