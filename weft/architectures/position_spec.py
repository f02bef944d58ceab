"""Positions of tokens (rotary and its scalings, ALiBi) and masks. `layers/rope.py` computes rotary positions."""

from __future__ import annotations

from weft.architectures.norm_spec import LayerNorm
from weft.architectures.part import Part, part


@part
class LinearScaling(Part):
    """Positions divided by a factor.

    factor: of the trained length.
    """

    factor: float

    kind = "linear"


@part
class DynamicScaling(Part):
    """NTK-aware change of the base beyond the trained length. Source: `rope_type` dynamic of Transformers.

    factor: of the trained length. original_max_position: the trained length in tokens.
    """

    factor: float
    original_max_position: int

    kind = "dynamic"


@part
class NTKScaling(Part):
    """NTK-aware change of the frequencies for all lengths. Source: `rope_type` ntk of vLLM.

    factor, mixed_b: with mixed_b None the base is multiplied by the factor, and frequencies are divided by
    factor ** (2 / rotary_dim). Else frequency i, from 1, is divided by
    exp(log(factor) * (i / (rotary_dim / 2)) ** mixed_b).
    """

    factor: float
    mixed_b: float | None = None

    kind = "ntk"


@part
class NTKAlphaScaling(Part):
    """The base times alpha ** (rotary_dim / (rotary_dim - 2)). Source: `rope_type` dynamic with alpha (HunYuan).

    alpha: as said.
    """

    alpha: float

    kind = "ntk-alpha"


@part
class ProportionalScaling(Part):
    """The first `rotated` of a head's values turn as those of a whole head would, the others not at all.

    The pairs are those of the whole head. rotated: as said. factor: frequencies are divided by it.
    Source: `rope_type` proportional of Transformers.
    """

    rotated: int
    factor: float = 1.0

    kind = "proportional"


@part
class Llama3Scaling(Part):
    """Low frequencies are divided by a factor, high ones kept, with a ramp between. Source: Llama 3.1's config.json.

    factor: divides the low frequencies. low_freq_factor, high_freq_factor: where the ramp begins and ends, in turns
    over the trained length. original_max_position: the trained length in tokens.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int

    kind = "llama3"


@part
class YarnScaling(Part):
    """YaRN. Source: arXiv:2309.00071.

    factor: of the trained length. original_max_position: the trained length in tokens. beta_fast, beta_slow: turns
    where the ramp ends and begins. attention_factor: on cos and sin; None: computed from factor, mscale and
    mscale_all_dim. mscale, mscale_all_dim: weights of that computation. truncate: the ramp begins and ends at whole
    dimensions.
    """

    factor: float
    original_max_position: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    kind = "yarn"


@part
class LongRopeScaling(Part):
    """A divisor for each frequency: short_factor up to the original length, long_factor beyond it.

    short_factor, long_factor: [R / 2] each. original_max_position: the trained length in tokens.
    factor: max_position / original_max_position. attention_factor: on cos and sin; None: computed from factor.
    short_mscale, long_mscale: the factor on cos and sin beside short_factor and long_factor; None: attention_factor.
    Source: arXiv:2402.13753.
    """

    short_factor: tuple[float, ...]
    long_factor: tuple[float, ...]
    original_max_position: int
    factor: float | None = None
    attention_factor: float | None = None
    short_mscale: float | None = None
    long_mscale: float | None = None

    kind = "longrope"


RopeScaling = (LinearScaling | DynamicScaling | NTKScaling | NTKAlphaScaling | ProportionalScaling | Llama3Scaling
               | YarnScaling | LongRopeScaling)


@part
class Rope(Part):
    """Rotary positions on the first `rotary_dim` values of each head. Source: arXiv:2104.09864.

    theta: the base of the frequencies. rotary_dim: R, an even number. scaling: how long sequences are stretched to.
    interleaved: pairs are neighbours (GPT-J, Cohere) instead of halves (GPT-NeoX, Llama). backwards: pairs turn the
    other way (nanochat).
    """

    theta: float
    rotary_dim: int
    interleaved: bool = False
    scaling: RopeScaling | None = None
    backwards: bool = False

    is_open = True

    def describe(self, *, sizes: bool = True) -> str:
        """`rope linear × 4, base 10000, 64 dims`; without sizes: `rope interleaved linear`."""
        kind = f"rope{' interleaved' if self.interleaved else ''}{f' {self.scaling.kind}' if self.scaling else ''}"
        if not sizes:
            return kind
        factor = getattr(self.scaling, "factor", None)
        return f"{kind}{f' × {factor:g}' if factor else ''}, base {self.theta:g}, {self.rotary_dim} dims"


@part
class Alibi(Part):
    """scale * (the head's slope) * (distance between the tokens), added to the scaled scores. Source: arXiv:2108.12409.

    In an encoder, where tokens see both sides, the distance counts on both sides alike (Jina BERT).
    max_bias: the slopes are powers of 2 ** (-max_bias / H). scale: a factor on the bias.
    is_bfloat16: slope, key position and their product are rounded to bfloat16, whatever the model's dtype (Falcon).
    """

    max_bias: float = 8.0
    scale: float = 1.0
    is_bfloat16: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`ALiBi`."""
        return "ALiBi"


@part
class RelativeBias(Part):
    """A trained number for each head and bucket of distances, added to the scaled scores. Source: arXiv:1910.10683.

    Keys after the query have the second half of the buckets. Of each half, the first buckets are single distances, the
    others wider and wider ranges up to `max_distance`, beyond which all distances share the last one.
    num_buckets: of both halves together. max_distance: tokens. is_shared: one table for all blocks (T5, MPNet); else
    each block has its own (UMT5). is_causal: all buckets are for keys before the query (a decoder).
    """

    num_buckets: int
    max_distance: int = 128
    is_shared: bool = True
    is_causal: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`relative bias, 32 buckets`."""
        return f"relative bias, {self.num_buckets} buckets" if sizes else "relative bias"


@part
class Disentangled(Part):
    """Queries and keys are multiplied with projected vectors for their distance too. Source: arXiv:2006.03654.

    All blocks share the table of vectors. Distances are query - key, in buckets of growing width if num_buckets is set.
    max_distance: tokens; farther ones share the last vector. num_buckets: on each side; None: each distance has its
    own vector. queries_to_distances, keys_to_distances: which of the two products there are ("c2p" and "p2c").
    shares_projections: vectors are projected by the block's own q and k; else by two matrices of their own.
    key_bias: the one of these that makes keys has a bias (not in DeBERTa v1). norm: of the vectors; None: none.
    """

    max_distance: int
    num_buckets: int | None = None
    queries_to_distances: bool = True
    keys_to_distances: bool = True
    shares_projections: bool = True
    key_bias: bool = True
    norm: LayerNorm | None = None

    @property
    def num_rows(self) -> int:
        """Vectors of the table."""
        return 2 * (self.num_buckets or self.max_distance)

    def describe(self, *, sizes: bool = True) -> str:
        """`disentangled, 512 distances`."""
        return f"disentangled, {self.num_rows} distances" if sizes else "disentangled"


@part
class Causal(Part):
    """Each token sees itself and all before it."""


@part
class SlidingWindow(Part):
    """Each token sees itself and the `window` - 1 tokens before it.

    window: tokens.
    """

    window: int
