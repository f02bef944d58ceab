"""Drawing tokens from logits: counter-based random numbers, filters of the distribution, log-probabilities.

Each row's result depends on that row alone. Plain torch; each function is its own definition so far.
"""

from weft.ops.sampling.draw import draw_tokens, filter_logits
from weft.ops.sampling.logprobs import TopLogprobs, top_logprobs
from weft.ops.sampling.random import uniforms

__all__ = ["TopLogprobs", "draw_tokens", "filter_logits", "top_logprobs", "uniforms"]
