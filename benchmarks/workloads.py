"""Workloads: prompts of token ids, the number of tokens to generate, and the rate to compute from the times.

`engine.py` and `peers.py` share them, so that their numbers are comparable. Token ids are drawn at random with a fixed
seed. There are three rates, all in tokens a second:

- prefill: prompt tokens / time to the first token;
- decode: generated tokens after the first / time from the first token to the last;
- output: all generated tokens / time from submitting the requests to the last token.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

FIRST_TOKEN_ID = 3      # below are the special tokens of make_checkpoint.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests that are submitted at once and run to their full length.

    key: short name. rate: "prefill", "decode" or "output". prompt_lens: tokens of each prompt, shared ones included.
    shared_len: number of first tokens that all prompts share. output_len: tokens to generate for each prompt.
    """

    key: str
    rate: str
    prompt_lens: tuple[int, ...]
    output_len: int
    shared_len: int = 0

    @property
    def title(self) -> str:
        """The workload in words, with its lengths."""
        low, high = min(self.prompt_lens), max(self.prompt_lens)
        if self.rate == "prefill":
            return f"prefill, one prompt of {low}"
        if self.rate == "decode":
            return f"decode, one sequence, context {low}"
        many = f"{len(self.prompt_lens)} request" + "s" * (len(self.prompt_lens) > 1)
        own = f"shared prefix of {self.shared_len}, own {low - self.shared_len}" if self.shared_len else (
            f"prompts {low}-{high}" if low < high else f"prompt {low}")
        return f"{many}, {own}, {self.output_len} new"

    @property
    def max_len(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.prompt_lens) + self.output_len

    @property
    def total_len(self) -> int:
        """Tokens of all sequences; the shared prefix counts for each."""
        return sum(self.prompt_lens) + len(self.prompt_lens) * self.output_len

    def shrunk(self, divisor: int) -> Workload:
        """A copy with all lengths divided, for a quick try: at least 1 token each, and 2 generated ones for decode."""
        def less(length: int, least: int = 1) -> int:
            return max(least, length // divisor)

        shared = less(self.shared_len) if self.shared_len else 0
        return replace(self, prompt_lens=tuple(max(shared + 1, less(length)) for length in self.prompt_lens),
                       output_len=less(self.output_len, 1 if self.rate == "prefill" else 2), shared_len=shared)

    def prompts(self, vocab_size: int, round_index: int) -> list[list[int]]:
        """Token ids of each prompt.

        Each round has different prompts, so that no prefix cache helps. Prompts for "decode" stay the same, because the
        time of computing them is not measured.
        """
        draw = random.Random(f"{self.key} {0 if self.rate == 'decode' else round_index}")
        vocabulary = range(min(FIRST_TOKEN_ID, vocab_size - 1), vocab_size)
        shared = draw.choices(vocabulary, k=self.shared_len)
        return [shared + draw.choices(vocabulary, k=length - self.shared_len) for length in self.prompt_lens]

    def value(self, seconds: float, first_token_seconds: float) -> float:
        """The rate, from the time to the last token and the time to the first one of all sequences."""
        if self.rate == "prefill":
            return sum(self.prompt_lens) / first_token_seconds
        if self.rate == "decode":
            return (self.output_len - 1) / (seconds - first_token_seconds)
        return len(self.prompt_lens) * self.output_len / seconds


def spread(low: int, high: int, count: int) -> tuple[int, ...]:
    """`count` lengths, evenly spaced from low to high; for one, the middle."""
    if count == 1:
        return ((low + high) // 2,)
    return tuple(low + (high - low) * i // (count - 1) for i in range(count))


def prefill(prompt_len: int) -> Workload:
    """One long prompt."""
    return Workload(key=f"prefill-{prompt_len}", rate="prefill", prompt_lens=(prompt_len,), output_len=1)


def decode(context_len: int, output_len: int = 65) -> Workload:
    """One sequence that is decoded after a prompt."""
    return Workload(key=f"decode-{context_len}", rate="decode", prompt_lens=(context_len,), output_len=output_len)


def batch(size: int, output_len: int = 128) -> Workload:
    """Requests of 64 to 512 tokens."""
    return Workload(key=f"batch-{size}", rate="output", prompt_lens=spread(64, 512, size), output_len=output_len)


def shared(size: int, shared_len: int = 1024, own_len: int = 64, output_len: int = 64) -> Workload:
    """Requests with a common first part."""
    return Workload(key=f"shared-{size}", rate="output", prompt_lens=(shared_len + own_len,) * size,
                    output_len=output_len, shared_len=shared_len)
