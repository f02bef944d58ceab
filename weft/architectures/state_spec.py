"""The mixers that keep a state of fixed size for each sequence instead of keys and values of every token.

`layers/mamba.py` runs state spaces (SSM), `layers/short_conv.py` the short convolution, `layers/lightning.py` lightning
attention.
"""

from __future__ import annotations

import math

from weft.architectures.ffn_spec import Activation
from weft.architectures.part import part
from weft.architectures.part_kinds import MixerSpec


class StateSpec(MixerSpec):
    """Base of these mixers. A sequence's state is the last conv_size - 1 rows of `conv_channels` columns that entered
    the convolution, and float32 numbers of `state_shape`.
    """

    conv_size: int

    positions = None                              # a state itself knows the order of tokens
    window = None

    @property
    def conv_channels(self) -> int:
        """Number of channels that pass the convolution."""
        raise NotImplementedError

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state besides the convolution's; (0,): there is none."""
        raise NotImplementedError


@part
class MambaSpec(StateSpec):
    """A selective state space with steps and decays for each channel (Mamba 1). Source: arXiv:2312.00752.

    x, z = in(h); x = act(conv(x)); dt, b, c = dt_b_c(x); y = scan(x, dt(dt), b, c) * silu(z); o(y).
    inner_size: I, number of channels. state_size: N, values of state per channel. conv_size: tokens that the
    convolution sees. dt_rank: width of the vector that `dt` expands to the steps.
    act: after the convolution. bias: in and o have biases; conv_bias: the convolution has one.
    norm_eps: epsilon of RMS norms on dt, b and c (Falcon Mamba); None: no such norms. norm_weights: whether these norms
    have weights (Jamba).
    """

    inner_size: int
    state_size: int
    conv_size: int
    dt_rank: int
    act: Activation = "silu"
    bias: bool = False
    conv_bias: bool = True
    norm_eps: float | None = None
    norm_weights: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`state space of 5120 channels x 16, convolution of 4`."""
        size = f"{self.inner_size} channels x {self.state_size}, convolution of {self.conv_size}"
        words = [f"state space of {size}" if sizes else "state space by channels"]
        return ", ".join(words + ["norms of steps"] * (self.norm_eps is not None) + ["bias"] * self.bias)

    @property
    def conv_channels(self) -> int:
        """Number of channels that pass the convolution: x."""
        return self.inner_size

    @property
    def state_shape(self) -> tuple[int, int]:
        """Shape of one sequence's scan state: (N, I)."""
        return self.state_size, self.inner_size

    @property
    def in_size(self) -> int:
        """Output size of `in`: x and z."""
        return 2 * self.inner_size


@part
class Mamba2Spec(StateSpec):
    """A selective state space with one step and one decay for each head (Mamba 2). Source: arXiv:2405.21060.

    z, x, b, c, dt = in(h); x, b, c = act(conv(x, b, c)); o(norm(scan(x, dt, b, c) * silu(z))).
    num_heads, head_dim: heads, and channels in each. state_size: N, values of state per channel. num_groups: the heads
    form equal groups, and the heads of a group share b and c. conv_size: tokens that the convolution sees.
    norm_eps: epsilon of the RMS norm before o, which normalises each group's channels separately; None: no such norm.
    norm_first: the norm comes before the gate, norm(scan) * silu(z) (Falcon-H1), else norm(scan * silu(z)).
    act: after the convolution. dt_limits: (smallest, largest) step; steps are clamped. bias: in and o have biases;
    conv_bias: the convolution has one.
    """

    num_heads: int
    head_dim: int
    num_groups: int
    state_size: int
    conv_size: int
    norm_eps: float | None
    norm_first: bool = False
    act: Activation = "silu"
    bias: bool = False
    conv_bias: bool = True
    dt_limits: tuple[float, float] = (0.0, math.inf)

    def describe(self, *, sizes: bool = True) -> str:
        """`state space of 128 heads of 64 x 128 in 8 groups, convolution of 4`."""
        groups = f" in {self.num_groups} groups" if self.num_groups > 1 else ""
        words = [f"state space of {self.num_heads} heads of {self.head_dim} x {self.state_size}{groups}, "
                 f"convolution of {self.conv_size}" if sizes else "state space by heads"]
        return ", ".join(words + ["bias"] * self.bias)

    @property
    def inner_size(self) -> int:
        """I, number of channels of all heads."""
        return self.num_heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Number of channels that pass the convolution: x, b and c."""
        return self.inner_size + 2 * self.num_groups * self.state_size

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """Shape of one sequence's scan state: (num_heads, N, head_dim)."""
        return self.num_heads, self.state_size, self.head_dim

    @property
    def in_size(self) -> int:
        """Output size of `in`: z, x, b, c and dt."""
        return self.inner_size + self.conv_channels + self.num_heads


@part
class ShortConvSpec(StateSpec):
    """A short convolution between two gates: b, x, c = in(h); o(c * conv(b * x)) (LFM2). Source: arXiv:2511.23404.

    inner_size: I, number of channels of b, x and c. conv_size: tokens that the convolution sees. bias: of in, of the
    convolution and of o.
    """

    inner_size: int
    conv_size: int
    bias: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`gated convolution of 2048 channels over 3 tokens`."""
        size = f" of {self.inner_size} channels over {self.conv_size} tokens" if sizes else ""
        return f"gated convolution{size}" + (", bias" if self.bias else "")

    @property
    def conv_channels(self) -> int:
        """As StateSpec: b * x."""
        return self.inner_size

    @property
    def state_shape(self) -> tuple[int]:
        """As StateSpec."""
        return (0,)


@part
class LightningSpec(StateSpec):
    """Linear attention with a fixed decay for each head: q, k, v = act(q(h), k(h), v(h)); S = exp(-slope) S + k v;
    o(norm(q S) * sigmoid(z(h))) (MiniMax). Source: arXiv:2501.08313.

    num_heads, head_dim: heads of q, k and v, and the size of one. slopes: of each head. norm_eps: epsilon of the RMS
    norm of all heads' results together. act: of q, k and v.
    """

    num_heads: int
    head_dim: int
    slopes: tuple[float, ...]
    norm_eps: float
    act: Activation = "silu"

    conv_size = 1                                 # there is no convolution

    def describe(self, *, sizes: bool = True) -> str:
        """`lightning attention of 64 heads of 96`."""
        return "lightning attention" + (f" of {self.num_heads} heads of {self.head_dim}" if sizes else "")

    @property
    def conv_channels(self) -> int:
        """As StateSpec."""
        return 0

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """As StateSpec: (H, D, D)."""
        return self.num_heads, self.head_dim, self.head_dim
