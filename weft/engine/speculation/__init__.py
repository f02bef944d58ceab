"""Speculation: tokens are drafted ahead and the model verifies several of them in one step.

A proposer drafts, the scheduler gives drafts what room a step has left, and the runner accepts a draft where it equals
the token that the sampler draws at that place. Draws depend on seed and position alone, so accepting changes no token.
"""

from __future__ import annotations

from weft.config.speculative import SpeculativeConfig
from weft.engine.speculation.ngram import NgramProposer
from weft.engine.speculation.proposer import Proposer

__all__ = ["Proposer", "make_proposer"]


def make_proposer(config: SpeculativeConfig | None) -> Proposer | None:
    """The proposer of an engine; None: it does not speculate."""
    if config is None:
        return None
    return NgramProposer(config.num_speculative_tokens, config.prompt_lookup_min, config.prompt_lookup_max)
