"""Speculative decoding: a proposer drafts tokens, and the model verifies several drafts in one step.

The scheduler gives drafts the room that a step has left. The runner accepts a draft that equals the token sampled at
its position. Draws depend on seed and position alone, so speculation changes no token.
"""

from __future__ import annotations

from weft.config.speculative import SpeculativeConfig
from weft.engine.speculation.ngram import NgramProposer
from weft.engine.speculation.proposer import Proposer

__all__ = ["Proposer", "make_proposer"]


def make_proposer(config: SpeculativeConfig | None) -> Proposer | None:
    """The proposer for this configuration; None without speculative decoding."""
    if config is None:
        return None
    return NgramProposer(config.num_speculative_tokens, config.prompt_lookup_min, config.prompt_lookup_max)
