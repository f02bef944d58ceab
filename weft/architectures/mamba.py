"""Mamba 1 and 2, and Falcon Mamba: a block is a norm and a selective state space (SSM), without attention."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_NAMES
from weft.architectures.mamba_parts import step_limits
from weft.architectures.names import ChannelKernels, Flattened, NameMap, NegatedExp, Rule, names
from weft.architectures.parts import decoder
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, Mamba2Spec, MambaSpec, RMSNorm, StateSpec

_BLOCK = {
    "backbone.layers.{i}.norm": "blocks.{i}.mixer_norm",
    "backbone.layers.{i}.mixer.in_proj": "blocks.{i}.mixer.in",
    "backbone.layers.{i}.mixer.conv1d": Rule("backbone.layers.{i}.mixer.conv1d", ("blocks.{i}.mixer.conv",),
                                             ChannelKernels()),
    "backbone.layers.{i}.mixer.A_log": "blocks.{i}.mixer.a_log",
    "backbone.layers.{i}.mixer.D": "blocks.{i}.mixer.d",
    "backbone.layers.{i}.mixer.out_proj": "blocks.{i}.mixer.o",
}
_ENDS = {
    "backbone.embeddings": "embedding.tokens",
    "backbone.embedding": "embedding.tokens",             # in the first checkpoints
    "backbone.norm_f": "final_norm",
    "lm_head": "head",
}
_MAMBA_NAMES = names(_BLOCK | _ENDS | {
    "backbone.layers.{i}.mixer.x_proj": "blocks.{i}.mixer.dt_b_c",
    "backbone.layers.{i}.mixer.dt_proj": "blocks.{i}.mixer.dt",
}, optional_prefix="backbone.")
_MAMBA2_NAMES = names(_BLOCK | _ENDS | {
    "backbone.layers.{i}.mixer.dt_bias": "blocks.{i}.mixer.dt.bias",
    "backbone.layers.{i}.mixer.norm": "blocks.{i}.mixer.norm",
}, optional_prefix="backbone.")

_GGUF_ENDS = ("token_embd", "output_norm", "output", "blk.{i}.attn_norm")
_GGUF_BLOCK = {source: GGUF_NAMES[source] for source in _GGUF_ENDS} | {
    "blk.{i}.ssm_in": "blocks.{i}.mixer.in",
    "blk.{i}.ssm_conv1d": Rule("blk.{i}.ssm_conv1d", ("blocks.{i}.mixer.conv",), ChannelKernels()),
    "blk.{i}.ssm_dt": "blocks.{i}.mixer.dt",
    "blk.{i}.ssm_d": Rule("blk.{i}.ssm_d", ("blocks.{i}.mixer.d",), Flattened()),
    "blk.{i}.ssm_out": "blocks.{i}.mixer.o",
}
_MAMBA_GGUF = names(_GGUF_BLOCK | {
    "blk.{i}.ssm_x": "blocks.{i}.mixer.dt_b_c",
    "blk.{i}.ssm_a": Rule("blk.{i}.ssm_a", ("blocks.{i}.mixer.a_log",), NegatedExp())})
_MAMBA2_GGUF = names(_GGUF_BLOCK | {
    "blk.{i}.ssm_a": Rule("blk.{i}.ssm_a", ("blocks.{i}.mixer.a_log",), NegatedExp(is_vector=True)),
    "blk.{i}.ssm_norm": Rule("blk.{i}.ssm_norm", ("blocks.{i}.mixer.norm",), Flattened())})


@architecture("MambaForCausalLM")
def mamba(c: ConfigReader) -> DecoderSpec:
    """Mamba 1. Source: arXiv:2312.00752 and config.json of state-spaces/mamba-2.8b-hf."""
    return _decoder(c, _mamba(c), _MAMBA_NAMES, _MAMBA_GGUF, tied=True)


@architecture("FalconMambaForCausalLM")
def falcon_mamba(c: ConfigReader) -> DecoderSpec:
    """Falcon Mamba: Mamba 1 with norms on dt, b and c. Source: arXiv:2410.05355 and tiiuae/falcon-mamba-7b."""
    mixer = _mamba(c, norm_eps=c.positive_float("mixer_rms_eps", default=1e-6))
    return _decoder(c, mixer, _MAMBA_NAMES, _MAMBA_GGUF, tied=True)


@architecture("Mamba2ForCausalLM")
def mamba2(c: ConfigReader) -> DecoderSpec:
    """Mamba 2. Source: arXiv:2405.21060 and config.json of mistralai/Mamba-Codestral-7B-v0.1."""
    width, heads, groups = _inner_size(c), c.positive("num_heads", default=None), c.positive("n_groups", default=8)
    size = c.positive("head_dim", default=64 if heads is None else max(1, width // heads))
    heads = heads or max(1, width // size)
    if heads * size != width:
        raise c.error("num_heads", heads, f"hidden_size * expand / head_dim = {width} / {size}")
    if heads % groups:
        raise c.error("n_groups", groups, f"a divisor of num_heads = {heads}")
    c.harmless("time_step_rank", "chunk_size", "norm_before_gate")      # the gate always comes before the norm
    mixer = Mamba2Spec(
        num_heads=heads, head_dim=size, num_groups=groups, state_size=c.positive("state_size", default=128),
        norm_eps=c.positive_float("layer_norm_epsilon", default=1e-5), dt_limits=step_limits(c), **_common(c))
    return _decoder(c, mixer, _MAMBA2_NAMES, _MAMBA2_GGUF, tied=False)


def _mamba(c: ConfigReader, norm_eps: float | None = None) -> MambaSpec:
    rank = -(-keys.hidden_size(c) // 16)
    if c.value("time_step_rank") == "auto":
        c.expect("time_step_rank", "auto")
    else:
        rank = c.positive("time_step_rank", default=rank)
    return MambaSpec(
        inner_size=_inner_size(c), dt_rank=rank, norm_eps=norm_eps,
        state_size=c.positive("state_size", default=16), **_common(c))


def _inner_size(c: ConfigReader) -> int:
    """I, the number of channels: `intermediate_size`, else hidden_size * expand (Falcon Mamba's expand differs)."""
    return c.positive("intermediate_size", default=keys.hidden_size(c) * c.positive("expand", default=2))


def _common(c: ConfigReader) -> dict:
    """The fields that MambaSpec and Mamba2Spec share."""
    return {"conv_size": c.positive("conv_kernel", default=4), "act": keys.activation(c),
            "bias": c.bool("use_bias", default=False), "conv_bias": c.bool("use_conv_bias", default=True)}


def _decoder(c: ConfigReader, mixer: StateSpec, names: NameMap, gguf: NameMap, *, tied: bool) -> DecoderSpec:
    norm = RMSNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-5))
    c.expect("rms_norm", True)
    # Initial weights in training; Transformers' choice of kernels; residual_in_fp32 (weft's has the model's dtype).
    c.harmless("time_step_min", "time_step_max", "time_step_floor", "time_step_scale", "time_step_init_scheme",
               "rescale_prenorm_residual", "use_mambapy", "use_falcon_mambapy", "use_associative_scan",
               "residual_in_fp32")
    # Keys that the first checkpoints have from the mamba_ssm library.
    c.harmless("d_model", "d_inner", "fused_add_norm", "pad_vocab_size_multiple", "ssm_cfg")
    block = BlockSpec(mixer=mixer, ffn=None, mixer_norm=norm, ffn_norm=None)
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=names, gguf=gguf, tied=tied)
