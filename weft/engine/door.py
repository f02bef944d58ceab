"""`Door`: refuses sequences that can never run, with the numbers. Knows no queue and no other sequence."""

from __future__ import annotations

from weft.cache.manager import CacheManager
from weft.config.engine_config import SchedulerConfig
from weft.engine.media_chunks import MediaChunks
from weft.engine.sequence import Sequence
from weft.errors import RequestError


class Door:
    """max_chunk: most tokens of one sequence in a step."""

    def __init__(self, config: SchedulerConfig, cache: CacheManager, media: MediaChunks, *, max_model_len: int,
                 max_chunk: int) -> None:
        self._config, self._cache, self._media = config, cache, media
        self._max_model_len, self._max_chunk = max_model_len, max_chunk

    def check(self, seq: Sequence) -> None:
        """RequestError if the sequence, running alone, would not fit the context, a step, or the cache."""
        longest = self._longest_prompt(seq)
        if not 0 < seq.num_tokens <= longest:
            answer = "" if seq.is_pooling else ", the answer needs 1 of them"
            raise RequestError("prompt", f"{seq.num_tokens} tokens", expected=f"1 to {longest} tokens",
                               hint=f"max_model_len is {self._max_model_len}{answer}.")
        if not self._config.enable_chunked_prefill and seq.num_tokens > self._config.max_num_batched_tokens:
            raise RequestError("prompt", f"{seq.num_tokens} tokens", hint="Start the engine with a larger one.",
                               expected=f"up to max_num_batched_tokens = {self._config.max_num_batched_tokens}, as a "
                               "prompt is computed in one step")
        if seq.num_tokens >= seq.max_len and not seq.is_pooling:
            raise RequestError("output_token_ids", f"{seq.num_output_tokens} tokens",
                               expected=f"fewer than max_tokens = {seq.max_len - seq.num_prompt_tokens}")
        for first, end in self._media.whole_spans(seq):
            if end - first > self._max_chunk:
                raise RequestError("multi_modal_data", f"{end - first} tokens", hint="Start the engine with a larger "
                                   "max_num_batched_tokens.", expected=f"media of up to {self._max_chunk} tokens, as "
                                   "this model computes them in one step")
        self._refuse_what_outgrows_the_cache(seq)

    def _refuse_what_outgrows_the_cache(self, seq: Sequence) -> None:
        # Checked at the sequence's largest size, so that a sequence running alone never runs out of blocks.
        longest = min(seq.max_stored_len, self._longest_prompt(seq))
        needed = self._cache.num_needed(longest, self._max_chunk, seq.num_encoder_tokens)
        for num_needed, pool, group in zip(needed, self._cache.pools, self._cache.groups, strict=True):
            if num_needed > pool.num_blocks:
                field, value = "max_tokens", seq.max_len - seq.num_prompt_tokens
                if seq.is_pooling:
                    field, value = "prompt", f"{seq.num_tokens} tokens"
                raise RequestError(
                    field, value,
                    expected=f"a request that fits the cache: up to {longest} tokens (prompt {seq.num_prompt_tokens}) "
                    f"need {num_needed} blocks of {group.block_size}, and there are {pool.num_blocks}",
                    hint="Ask for fewer tokens, shorten the prompt, or give the engine more kv_cache_memory_bytes.")

    def _longest_prompt(self, seq: Sequence) -> int:
        """The most known tokens that a sequence may have when it is added: a generated token needs one more place."""
        return self._max_model_len if seq.is_pooling else self._max_model_len - 1
