"""Compares a tiny checkpoint's tokens and log-probabilities with Transformers, however the engine cuts the work.

One forward pass of Transformers over prompt and generated tokens says, for every position, which token is the likeliest
and how likely each is. When each generated token is the likeliest after those before it, greedy decoding agrees.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weft import LLM, SamplingParams
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.outputs import RequestOutput

PROMPT_LENGTHS = (1, 5, 17, 40, 100)
NEW_TOKENS = 24
MAX_MODEL_LEN = 160
BLOCK_SIZE = 16
TOLERANCE = 1e-4        # of a log-probability, float32 on both sides
NEAR_TIE = 1e-3         # two tokens closer than this may change places


@dataclass(frozen=True)
class TinyModel:
    """A checkpoint and what it should compute: token ids [B, L] to logits [B, L, V]."""

    path: Path
    logits: Callable[[Tensor], Tensor]


def prompts() -> list[list[int]]:
    random = torch.Generator().manual_seed(7)
    return [torch.randint(3, 320, (length,), generator=random).tolist() for length in PROMPT_LENGTHS]


def engine(tiny: TinyModel, **options) -> LLM:
    return LLM(model=str(tiny.path), dtype="float32", skip_tokenizer_init=True, max_model_len=MAX_MODEL_LEN,
               block_size=BLOCK_SIZE, kv_cache_memory_bytes=4 << 20, num_threads=1, use_tqdm_on_load=False, **options)


def generate(llm: LLM, *, prompt_logprobs: int | None) -> list[RequestOutput]:
    params = SamplingParams(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True, detokenize=False, logprobs=4,
                            prompt_logprobs=prompt_logprobs)
    return llm.generate([{"prompt_token_ids": ids} for ids in prompts()], params, use_tqdm=False)


def expected_logprobs(tiny: TinyModel, sequences: list[list[int]]) -> list[Tensor]:
    """[MAX_MODEL_LEN, V] for each sequence, padded on the right, which no earlier position sees.

    That length is the one weft stretches dynamic rope for; Transformers stretches it for the length it is given.
    """
    padded = torch.zeros(len(sequences), MAX_MODEL_LEN, dtype=torch.long)
    for row, ids in zip(padded, sequences, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    with torch.inference_mode():
        return list(tiny.logits(padded).float().log_softmax(-1))


def check(tiny: TinyModel, outputs: list[RequestOutput]) -> None:
    """Every generated token is the likeliest one, and every reported log-probability is the expected one."""
    generated = [output.outputs[0].token_ids for output in outputs]
    sequences = [[*output.prompt_token_ids, *ids] for output, ids in zip(outputs, generated, strict=True)]
    for output, ids, expected in zip(outputs, generated, expected_logprobs(tiny, sequences), strict=True):
        assert len(ids) == NEW_TOKENS
        start = len(output.prompt_token_ids) - 1
        rows = expected[start : start + NEW_TOKENS]
        gaps = rows.max(dim=-1).values - rows[torch.arange(NEW_TOKENS), torch.tensor(ids)]
        assert gaps.max() < NEAR_TIE, f"prompt of {start + 1}: not the likeliest token at step {gaps.argmax()}"
        check_logprobs(output.outputs[0].logprobs, rows)
        if output.prompt_logprobs is not None:
            check_logprobs(output.prompt_logprobs[1:], expected[:start])


def check_logprobs(reported: list[dict], expected: Tensor) -> None:
    assert len(reported) == len(expected)
    for position, (entries, row) in enumerate(zip(reported, expected, strict=True)):
        for token_id, entry in entries.items():
            assert abs(entry.logprob - row[token_id].item()) < TOLERANCE, f"position {position}, token {token_id}"


def unread(tiny: TinyModel) -> dict[str, Any]:
    """Keys of the checkpoint's config that its description neither reads nor knows to be harmless."""
    config = json.loads((tiny.path / "config.json").read_text())
    reader = ConfigReader(config)
    families()[config["architectures"][0]].describe(reader)
    return reader.unread()


def check_whole_prompts(tiny: TinyModel) -> None:
    """Tokens and log-probabilities of whole prompts, in company."""
    with engine(tiny, enable_prefix_caching=False) as llm:
        outputs = generate(llm, prompt_logprobs=0)

    check(tiny, outputs)
    assert len({token for output in outputs for token in output.outputs[0].token_ids}) > 3     # the model is not stuck


def check_chunks_and_cached_prefixes(tiny: TinyModel) -> None:
    """The same of chunks of seven tokens, and of prompts that begin in the prefix cache."""
    chunked = {"max_num_batched_tokens": 7, "max_num_seqs": 5, "long_prefill_token_threshold": 7}
    with engine(tiny, enable_prefix_caching=True, **chunked) as llm:
        cold = generate(llm, prompt_logprobs=0)
        warm = generate(llm, prompt_logprobs=None)

    check(tiny, cold)
    check(tiny, warm)
    full_blocks = [(length - 1) // BLOCK_SIZE * BLOCK_SIZE for length in PROMPT_LENGTHS]
    assert [output.num_cached_tokens for output in warm] == full_blocks
