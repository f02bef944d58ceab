"""Makes the layers of a block's parts, and registers weft's own mixers and feed-forward parts."""

from __future__ import annotations

from typing import cast

from weft.architectures.spec import (
    AttentionSpec,
    FfnSpec,
    GatedDeltaSpec,
    LightningSpec,
    Mamba2Spec,
    MambaSpec,
    MixerSpec,
    MLASpec,
    MLPSpec,
    MoESpec,
    PairSpec,
    Rope,
    ShortConvSpec,
)
from weft.layers.attention import SelfAttention
from weft.layers.context import LayerContext
from weft.layers.gated_delta import GatedDelta
from weft.layers.lightning import Lightning
from weft.layers.mamba import Mamba, Mamba2
from weft.layers.mla import MLA
from weft.layers.mlp import MLP, MoE
from weft.layers.pair import Pair
from weft.layers.registry import layer_of, register_part
from weft.layers.short_conv import ShortConv
from weft.layers.state import StateLayer

Mixer = SelfAttention | MLA | StateLayer | Pair                # and layers of other files, which are called alike
Ffn = MLP | MoE

register_part(AttentionSpec, SelfAttention)
register_part(MLASpec, MLA)
register_part(MambaSpec, Mamba)
register_part(Mamba2Spec, Mamba2)
register_part(ShortConvSpec, ShortConv)
register_part(GatedDeltaSpec, GatedDelta)
register_part(LightningSpec, Lightning)
register_part(PairSpec, Pair)
register_part(MLPSpec, MLP)
register_part(MoESpec, MoE)


def make_mixer(spec: MixerSpec | None, hidden_size: int, *, context: LayerContext) -> Mixer | None:
    """The layer of a mixer; None where the block has none."""
    return None if spec is None else cast("Mixer", layer_of(spec)(spec, hidden_size, context=context))


def make_ffn(spec: FfnSpec | None, hidden_size: int, *, context: LayerContext) -> Ffn | None:
    """The layer of a feed-forward part; None where the block has none."""
    return None if spec is None else cast("Ffn", layer_of(spec)(spec, hidden_size, context=context))


def rope_of(mixer: Mixer | None) -> Rope | None:
    """The rotary positions whose angles a mixer wants."""
    return getattr(mixer, "rope", None)
