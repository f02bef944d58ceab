"""The open kinds of parts: a field with such a type takes weft's own parts, and parts that a user's file brings.

A new part is a subclass marked with `@part`; `weft.layers.registry.register_part` gives it a layer.
"""

from __future__ import annotations

from weft.architectures.part import Part


class NormSpec(Part):
    """A norm over the last dimension. Its layer: forward(x [T, N], residual=None, alpha=1.0) -> [T, N]."""


class MixerSpec(Part):
    """The part of a block in which tokens meet. Its layer: forward(x [T, E], step, angles, residual=None, alpha=1.0).

    `positions`, a field of some mixers, says how a token's position enters; without it the mixer itself knows the order
    of tokens.
    """

    def features(self) -> list[str]:
        """Words for what `describe(sizes=False)` leaves out, such as a window or biases."""
        return []


class FfnSpec(Part):
    """The feed-forward part of a block. Its layer: forward(x [T, E], residual=None, alpha=1.0) -> [T, E]."""
