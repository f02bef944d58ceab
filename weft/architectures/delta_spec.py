"""The gated delta rule as a mixer: linear attention whose state decays and corrects what it holds for a key.

`layers/gated_delta.py` runs it.
"""

from __future__ import annotations

from typing import Literal

from weft.architectures.ffn_spec import Activation
from weft.architectures.part import part
from weft.architectures.state_spec import StateSpec


@part
class GatedDeltaSpec(StateSpec):
    """q, k, v = act(conv(q(h), k(h), v(h))); y = delta(q, k, v); o(norm(y) * gate_act(z(h))).

    The state S of a head decays by exp(-exp(a_log) * softplus(a(h) + dt)) and learns at the rate
    beta_scale * sigmoid(b(h)). Source: Gated DeltaNet, arXiv:2412.06464; Kimi delta attention, arXiv:2510.26692.
    num_heads: heads of v. num_key_heads: heads of q and k, each for as many adjacent heads of v. key_dim, value_dim:
    sizes of a head of k and of v. conv_size: tokens that the convolution sees. norm_eps: epsilon of the RMS norm of
    each head's result. act: after the convolution. gate_act: of z. beta_scale: as said (2.0: OLMo hybrid).
    decay_rank: a has a number for each dimension of each key, a_b(a_a(h)) with so many numbers between, and so has
    the decay (Kimi); None: one for each head. gate_rank: z likewise is z_b(z_a(h)); None: one product.
    """

    num_heads: int
    num_key_heads: int
    key_dim: int
    value_dim: int
    conv_size: int
    norm_eps: float
    act: Activation = "silu"
    gate_act: Literal["silu", "sigmoid"] = "silu"
    beta_scale: float = 1.0
    decay_rank: int | None = None
    gate_rank: int | None = None

    def describe(self, *, sizes: bool = True) -> str:
        """`gated delta rule of 32 heads of 128 x 128, 16 key heads, convolution of 4`."""
        kind = "gated delta rule" if self.decay_rank is None else "gated delta rule with decays of each dimension"
        if not sizes:
            return kind
        words = f"{kind} of {self.num_heads} heads of {self.key_dim} x {self.value_dim}"
        keys = f", {self.num_key_heads} key heads" if self.num_key_heads != self.num_heads else ""
        return f"{words}{keys}, convolution of {self.conv_size}"

    @property
    def conv_channels(self) -> int:
        """As StateSpec: q, k and v."""
        return 2 * self.num_key_heads * self.key_dim + self.num_heads * self.value_dim

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """As StateSpec: (H, key_dim, value_dim)."""
        return self.num_heads, self.key_dim, self.value_dim
