"""`with_step_limits`: how much a server computes in one step by default."""

from __future__ import annotations

from dataclasses import replace

from weft.config.engine_args import EngineArgs

SERVING_TOKENS, SERVING_SEQS = 2048, 128     # on CPU
SERVING_SLOWDOWN = 2.0      # of streams, while long prompts are read


def with_step_limits(args: EngineArgs) -> EngineArgs:
    """`args` with a server's defaults: smaller steps, for a shorter time between tokens."""
    tokens = args.max_num_batched_tokens
    if tokens is None and args.enable_chunked_prefill:
        tokens = max(SERVING_TOKENS, args.max_num_seqs or 0)
    seqs = args.max_num_seqs or min(SERVING_SEQS, tokens or SERVING_SEQS)
    slowdown = args.prefill_slowdown
    if slowdown is None and args.enable_chunked_prefill and not args.long_prefill_token_threshold:
        slowdown = SERVING_SLOWDOWN
    return replace(args, max_num_batched_tokens=tokens, max_num_seqs=seqs, prefill_slowdown=slowdown)
