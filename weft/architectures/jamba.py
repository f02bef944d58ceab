"""Jamba: Mamba 1 with norms on steps, attention without positions now and then, experts in every other layer."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.bamba import FEED_FORWARD
from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.mamba_parts import mamba_gguf
from weft.architectures.names import ChannelKernels, Rule, names
from weft.architectures.parts import (
    LLAMA_BLOCK,
    LLAMA_ENDS,
    LLAMA_NAMES,
    attention,
    decoder,
    experts,
    gated_mlp,
    rms_norm,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MambaSpec

_LAYER, _MIXER = "model.layers.{i}.", "blocks.{i}.mixer."
_MAMBA = {"in_proj": "in", "x_proj": "dt_b_c", "dt_proj": "dt", "dt_layernorm": "dt_norm", "b_layernorm": "b_norm",
          "c_layernorm": "c_norm", "A_log": "a_log", "D": "d", "out_proj": "o"}
_NAMES = names(LLAMA_BLOCK | LLAMA_ENDS | FEED_FORWARD | {
    **{f"{_LAYER}mamba.{name}": _MIXER + home for name, home in _MAMBA.items()},
    _LAYER + "mamba.conv1d": Rule(_LAYER + "mamba.conv1d", (_MIXER + "conv",), ChannelKernels()),
    _LAYER + "feed_forward.router": "blocks.{i}.ffn.router",
    **{f"{_LAYER}feed_forward.experts.{{e}}.{part}_proj": f"blocks.{{i}}.ffn.experts.{{e}}.{part}"
       for part in ("gate", "up", "down")},
}, optional_prefix="model.", ignored=LLAMA_NAMES.ignored)
_GGUF = {f"blk.{{i}}.ssm_{name}_norm": f"{_MIXER}{name}_norm" for name in ("dt", "b", "c")}


@architecture("JambaForCausalLM")
def jamba(c: ConfigReader) -> DecoderSpec:
    """Jamba. Source: arXiv:2403.19887 and config.json of ai21labs/Jamba-v0.1."""
    norm = rms_norm(c)
    attending = _every(c, "attn_layer_period", "attn_layer_offset", period=8, offset=4)
    sparse = _every(c, "expert_layer_period", "expert_layer_offset", period=2, offset=1)
    c.harmless("use_mamba_kernels", "use_mambapy", "use_associative_scan", "num_logits_to_keep",
               "calc_logits_for_entire_prompt")
    dense, count = gated_mlp(c), c.positive("num_experts", default=16)
    moe = experts(c, expert=dense, renormalize=False, per_token=2) if count > 1 else dense
    c.harmless("num_experts_per_tok")                                    # where there is one expert
    mixers = attention(c, positions=None), _mamba(c, norm.eps)
    blocks = [BlockSpec(mixer=mixers[layer not in attending], ffn=moe if layer in sparse else dense, mixer_norm=norm,
                        ffn_norm=norm) for layer in range(keys.num_layers(c))]
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES,
                   gguf=gguf_names(_GGUF, mamba_gguf(by_head=False), stacked_experts(count)))


def _every(c: ConfigReader, period_key: str, offset_key: str, *, period: int, offset: int) -> range:
    """Numbers of the layers that come once in a period. period, offset: the family's defaults."""
    period, offset = c.positive(period_key, default=period), c.int(offset_key, default=offset)
    if not 0 <= offset < period:
        raise c.error(offset_key, offset, f"0 to {period - 1}, below {period_key}")
    return range(offset, keys.num_layers(c), period)


def _mamba(c: ConfigReader, eps: float) -> MambaSpec:
    rank = -(-keys.hidden_size(c) // 16)
    if c.value("mamba_dt_rank") == "auto":
        c.expect("mamba_dt_rank", "auto")
    else:
        rank = c.positive("mamba_dt_rank", default=rank)
    return MambaSpec(
        inner_size=keys.hidden_size(c) * c.positive("mamba_expand", default=2), dt_rank=rank, norm_eps=eps,
        norm_weights=True, state_size=c.positive("mamba_d_state", default=16),
        conv_size=c.positive("mamba_d_conv", default=4), act=keys.activation(c),
        bias=c.bool("mamba_proj_bias", default=False), conv_bias=c.bool("mamba_conv_bias", default=True))
