"""Fields of HTTP bodies that vLLM's server reads: /v1/completions and /v1/chat/completions.

A row without `versions` is a field of OpenAI's that vLLM does not have. A NO_EFFECT field is accepted with any value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.readers import read_guided_field
from weft.compat.vllm.options.row import NO_EFFECT, NOT_YET, REFUSED, SAME, TRANSLATED, Option, table
from weft.compat.vllm.options.sampling import BEAMS, BEST, OF_BEAMS

_TEXT = "weft gives text only."
_IMAGES = "weft takes images in `messages`, without further options."
_RECORDS = "weft keeps no records of requests"
_GUIDED = "a field of `structured_outputs`"

GENERATING = table((
    Option("model", "0.6+", SAME),
    Option("prompt", "0.6+", SAME),
    Option("messages", "0.6+", SAME, say="text and, for models that take them, images as `data:` URLs"),
    Option("stream", "0.6+", SAME),
    Option("stream_options", "0.6+", SAME),
    Option("echo", "0.6+", SAME),
    Option("n", "0.6+", SAME),
    Option("max_tokens", "0.6+", SAME),
    Option("max_completion_tokens", "0.6+", SAME),
    Option("min_tokens", "0.6+", SAME),
    Option("logprobs", "0.6+", SAME),
    Option("top_logprobs", "0.6+", SAME),
    Option("prompt_logprobs", "0.6+", SAME),
    Option("seed", "0.6+", SAME),
    Option("stop", "0.6+", SAME),
    Option("stop_token_ids", "0.6+", SAME),
    Option("include_stop_str_in_output", "0.6+", SAME),
    Option("ignore_eos", "0.6+", SAME),
    Option("temperature", "0.6+", SAME),
    Option("top_p", "0.6+", SAME),
    Option("top_k", "0.6+", SAME),
    Option("min_p", "0.6+", SAME),
    Option("frequency_penalty", "0.6+", SAME),
    Option("presence_penalty", "0.6+", SAME),
    Option("repetition_penalty", "0.6+", SAME),
    Option("logit_bias", "0.6+", SAME),
    Option("allowed_token_ids", "0.6+", SAME),
    Option("bad_words", "0.9+", SAME),
    Option("skip_special_tokens", "0.6+", SAME),
    Option("spaces_between_special_tokens", "0.6+", SAME),
    Option("truncate_prompt_tokens", "0.6+", SAME),
    Option("add_special_tokens", "0.6+", SAME),
    Option("add_generation_prompt", "0.6+", SAME),
    Option("continue_final_message", "0.6+", SAME),
    Option("chat_template", "0.6+", SAME, say="only with `--trust-request-chat-template`"),
    Option("chat_template_kwargs", "0.6+", SAME),
    Option("documents", "0.6+", SAME),
    Option("tools", "0.6+", SAME),
    Option("tool_choice", "0.6+", SAME),
    Option("parallel_tool_calls", "0.6+", SAME, say="false: calls behind the first are left out"),
    Option("include_reasoning", "0.10+", SAME),
    Option("reasoning_effort", "0.10+", SAME),
    Option("priority", "0.6+", SAME),
    Option("request_id", "0.6+", SAME),
    Option("cache_salt", "0.9+", SAME),
    Option("return_tokens_as_token_ids", "0.8+", SAME),
    Option("return_token_ids", "0.10+", SAME),
    Option("stream_interval", "0.30+", SAME),
    Option("prompt_embeds", "0.9+", REFUSED, say="Send it to /v1/completions of a server with --enable-prompt-embeds."),
    Option("best_of", "0.6-0.11", SAME, say=BEST),
    Option("use_beam_search", "0.6+", SAME, say=BEAMS),
    Option("length_penalty", "0.6+", SAME, say=OF_BEAMS),
    Option("early_stopping", "0.6", SAME, say=OF_BEAMS),
    Option("guided_json", "0.6-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("guided_regex", "0.6-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("guided_choice", "0.6-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("guided_grammar", "0.6-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("guided_whitespace_pattern", "0.6-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("structural_tag", "0.8-0.11", TRANSLATED, read=read_guided_field, say=_GUIDED),
    Option("guided_decoding_backend", "0.6-0.11", NO_EFFECT, say="it says how, not whether, an answer has a structure"),
    Option("structured_outputs", "0.11+", SAME),
    Option("response_format", "0.6+", SAME),
    Option("suffix", "0.6+", SAME, say="where the tokenizer has tokens for filling in the middle (vLLM refuses it)"),
    Option("logits_processors", "0.6-0.14", REFUSED, off=([],),
           say="Start the server with `--logits-processors module:Class`, and send `vllm_xargs`."),
    Option("logprob_token_ids", "0.26+", SAME),
    Option("truncation_side", "0.22+", SAME),
    Option("return_token_offsets", "0.26+", REFUSED, off=(False,), say=NOT_YET),
    Option("return_prompt_text", "0.22+", SAME),
    Option("return_assistant_tokens_mask", "0.26-0.30", REFUSED, off=(False,), say=NOT_YET),
    Option("return_mm_kwargs", "0.32+", REFUSED, off=(False,), say=_IMAGES),
    Option("return_weight_versions", "0.33+", REFUSED, off=(False,), say=NOT_YET),
    Option("kv_transfer_params", "0.9+", REFUSED, say=NOT_YET),
    Option("ec_transfer_params", "0.26+", REFUSED, say=NOT_YET),
    Option("vllm_xargs", "0.9+", SAME, say="`extra_args` of the parameters"),
    Option("weft_xargs", "", SAME, say="as `vllm_xargs`"),
    Option("repetition_detection", "0.18+", SAME, say="patterns of up to 1024 tokens"),
    Option("thinking_token_budget", "0.22+", SAME, say="in chats; -1: no limit"),
    Option("routed_experts_prompt_start", "0.30+", REFUSED, off=(0,), say=NOT_YET),
    Option("media_io_kwargs", "0.18+", REFUSED, off=({},), say=_IMAGES),
    Option("mm_processor_kwargs", "0.7+", REFUSED, off=({},), say=_IMAGES),
    Option("mm_payload", "0.32+", NO_EFFECT, say="weft takes images in `messages`"),
    Option("watermarking", "0.30+", NO_EFFECT, say="weft marks no text"),
    Option("user", "0.6+", NO_EFFECT, say=_RECORDS),
    Option("session_id", "0.30+", NO_EFFECT, say="prefixes are cached across sessions"),
    Option("functions", "", REFUSED, off=([],), say="Send `tools`."),
    Option("function_call", "", REFUSED, off=("none",), say="Send `tool_choice`."),
    Option("audio", "", REFUSED, say=_TEXT),
    Option("modalities", "", REFUSED, off=(["text"],), say=_TEXT),
    Option("prediction", "", REFUSED, say=NOT_YET),
    Option("web_search_options", "", REFUSED, say=NOT_YET),
    Option("metadata", "", NO_EFFECT, say=_RECORDS),
    Option("store", "", NO_EFFECT, say=_RECORDS),
    Option("service_tier", "", NO_EFFECT, say="requests are served alike; `priority` orders them"),
    Option("safety_identifier", "", NO_EFFECT, say=_RECORDS),
    Option("prompt_cache_key", "", NO_EFFECT, say="prefixes are cached by their tokens"),
    Option("prompt_cache_retention", "", NO_EFFECT, say="prefixes are kept until their memory is needed"),
    Option("verbosity", "", NO_EFFECT, say="no model here reads it"),
))


def accept_field(rows: Mapping[str, Option], name: str, value: Any) -> None:
    """Nothing, if the field of a request may be left unread; NotBuiltError if not."""
    if rows[name].state != NO_EFFECT:
        accept(rows, {name: value}, known=())
