"""Fields of vLLM's `SamplingParams` and `BeamSearchParams`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.readers import read_guided_decoding
from weft.compat.vllm.options.row import NO_EFFECT, NOT_YET, REFUSED, SAME, TRANSLATED, Option, table

BEST = "the `n` answers of the highest cumulative log-probability; not streamed"
BEAMS = "`best_of` or `n` beams, without penalties, stop strings, `logprobs` and limits on tokens; not streamed"
OF_BEAMS = "only with `use_beam_search`"

SAMPLING = table((
    Option("n", "0.6+", SAME),
    Option("presence_penalty", "0.6+", SAME),
    Option("frequency_penalty", "0.6+", SAME),
    Option("repetition_penalty", "0.6+", SAME),
    Option("temperature", "0.6+", SAME),
    Option("top_p", "0.6+", SAME),
    Option("top_k", "0.6+", SAME),
    Option("min_p", "0.6+", SAME),
    Option("seed", "0.6+", SAME),
    Option("stop", "0.6+", SAME),
    Option("stop_token_ids", "0.6+", SAME),
    Option("ignore_eos", "0.6+", SAME),
    Option("max_tokens", "0.6+", SAME),
    Option("min_tokens", "0.6+", SAME),
    Option("logprobs", "0.6+", SAME),
    Option("prompt_logprobs", "0.6+", SAME),
    Option("detokenize", "0.6+", SAME),
    Option("skip_special_tokens", "0.6+", SAME),
    Option("spaces_between_special_tokens", "0.6+", SAME),
    Option("include_stop_str_in_output", "0.6+", SAME),
    Option("truncate_prompt_tokens", "0.6-0.14", SAME),
    Option("bad_words", "0.6+", SAME),
    Option("output_kind", "0.6+", SAME),
    Option("logit_bias", "0.6+", SAME),
    Option("allowed_token_ids", "0.6+", SAME),
    Option("skip_reading_prefix_cache", "0.11+", SAME),
    Option("stream_interval", "0.30+", SAME),
    Option("best_of", "0.6-0.11", SAME, say=BEST),
    Option("use_beam_search", "0.6", SAME, say=BEAMS),
    Option("early_stopping", "0.6", SAME, say=OF_BEAMS),
    Option("length_penalty", "0.6", SAME, say=OF_BEAMS),
    Option("guided_decoding", "0.6-0.11", TRANSLATED, read=read_guided_decoding, say="`structured_outputs`"),
    Option("structured_outputs", "0.11+", SAME),
    Option("logits_processors", "0.6-0.14", SAME, say="functions; only in the engine's own process"),
    Option("extra_args", "0.8+", SAME, say="plain data, for logits processors"),
    Option("flat_logprobs", "0.13+", REFUSED, off=(False,), say=NOT_YET),
    Option("logprob_token_ids", "0.22+", SAME),
    Option("prompt_logprob_token_ids", "0.32+", REFUSED, off=([],), say=NOT_YET),
    Option("prompt_logprob_start", "0.32+", REFUSED, say=NOT_YET),
    Option("thinking_token_budget", "0.22+", REFUSED, off=(-1,),
           say="Give `reasoning_budget`, which names the tokens, or send the field to the server's chats."),
    Option("repetition_detection", "0.18+", SAME, say="patterns of up to 1024 tokens"),
    Option("trace_decode_token_ids", "0.30+", REFUSED, off=([],), say=NOT_YET),
    Option("routed_experts_prompt_start", "0.22+", REFUSED, off=(0,), say=NOT_YET),
    Option("watermarking", "0.30+", NO_EFFECT, off=(True, False), say="weft marks no text"),
    Option("skip_clone", "0.14+", NO_EFFECT, off=(True, False), say="weft decides itself when it copies parameters"),
    Option("output_text_buffer_length", "0.6+", NO_EFFECT, off=(0,), say="it is computed from the stop strings"),
))

BEAM = table((
    Option("beam_width", "0.6+", SAME),
    Option("max_tokens", "0.6+", SAME),
    Option("ignore_eos", "0.6+", SAME),
    Option("temperature", "0.6+", SAME),
    Option("length_penalty", "0.6+", SAME),
    Option("include_stop_str_in_output", "0.6+", SAME),
    Option("skip_special_tokens", "0.30+", SAME),
    Option("structured_outputs", "0.26+", REFUSED, say=NOT_YET),
    Option("allowed_token_ids", "0.33+", REFUSED, off=([],), say=NOT_YET),
    Option("watermarking", "0.32+", NO_EFFECT, off=(True, False), say="weft marks no text"),
))


def accept_sampling(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """`accept` for SamplingParams."""
    return accept(SAMPLING, given, known=known)


def accept_beams(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """`accept` for BeamSearchParams."""
    return accept(BEAM, given, known=known)
