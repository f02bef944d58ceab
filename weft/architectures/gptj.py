"""GPT-J: attention and MLP in parallel after one LayerNorm; rope on neighbouring pairs of a part of each head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder, layer_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec

_LAYER = "transformer.h.{i}."
_NAMES = names({
    _LAYER + "ln_1": "blocks.{i}.mixer_norm",
    _LAYER + "attn.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "attn.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "attn.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "mlp.fc_in": "blocks.{i}.ffn.up",
    _LAYER + "mlp.fc_out": "blocks.{i}.ffn.down",
    "transformer.wte": "embedding.tokens",
    "transformer.ln_f": "final_norm",
    "lm_head": "head",
}, optional_prefix="transformer.", ignored=(_LAYER + "attn.bias", _LAYER + "attn.masked_bias"))


@architecture("GPTJForCausalLM")
def gptj(c: ConfigReader) -> DecoderSpec:
    """GPT-J. Source: github.com/kingoflolz/mesh-transformer-jax; config.json of EleutherAI/gpt-j-6b."""
    norm = layer_norm(c)
    c.harmless("rotary", "scale_attn_weights")
    positions = rope(c, rotary_dim=c.positive("rotary_dim", default=64), interleaved=True)
    block = BlockSpec(
        mixer=attention(c, positions=positions),
        ffn=MLPSpec(intermediate_size=c.positive("n_inner", default=4 * keys.hidden_size(c)), gated=False, bias=True,
                    act=keys.activation(c, "activation_function", default="gelu_new")),
        mixer_norm=norm,
        ffn_norm=None,
        parallel=True,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_NAMES, head_bias=True)
