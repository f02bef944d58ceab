"""GPT-J and CodeGen: attention and MLP in parallel after one LayerNorm; rope on neighbouring pairs of some values."""

from __future__ import annotations

from collections.abc import Mapping

from weft.architectures import keys
from weft.architectures.names import HeadRows, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec

_LAYER = "transformer.h.{i}."
_SEPARATE = {_LAYER + f"attn.{name}_proj": f"blocks.{{i}}.mixer.{name}" for name in ("q", "k", "v")}
_NAMES = {
    _LAYER + "ln_1": "blocks.{i}.mixer_norm",
    _LAYER + "attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "mlp.fc_in": "blocks.{i}.ffn.up",
    _LAYER + "mlp.fc_out": "blocks.{i}.ffn.down",
    "transformer.wte": "embedding.tokens",
    "transformer.ln_f": "final_norm",
    "lm_head": "head",
}
_IGNORED = (_LAYER + "attn.bias", _LAYER + "attn.masked_bias", _LAYER + "attn.causal_mask")
_PIECES = 4             # in which CodeGen's heads are stored, made on as many cores


@architecture("GPTJForCausalLM")
def gptj(c: ConfigReader) -> DecoderSpec:
    """GPT-J. Source: github.com/kingoflolz/mesh-transformer-jax; config.json of EleutherAI/gpt-j-6b."""
    return _decoder(c, _SEPARATE)


@architecture("CodeGenForCausalLM")
def codegen(c: ConfigReader) -> DecoderSpec:
    """CodeGen: q, v and k in one matrix, in four pieces. Source: arXiv:2203.13474; Salesforce/codegen-2B-mono."""
    heads, qkv = keys.num_heads(c), _LAYER + "attn.qkv_proj"
    if heads % _PIECES:
        raise c.error("n_head", heads, f"a multiple of {_PIECES}")
    rows = heads // _PIECES * keys.head_dim(c)
    targets = ("blocks.{i}.mixer.q", "blocks.{i}.mixer.v", "blocks.{i}.mixer.k")
    return _decoder(c, {qkv: Rule(qkv, targets, HeadRows(num_heads=_PIECES, sizes=(rows, rows, rows)))})


def _decoder(c: ConfigReader, qkv: Mapping[str, str | Rule]) -> DecoderSpec:
    norm = layer_norm(c)
    c.harmless("rotary", "scale_attn_weights", "n_ctx")
    positions = rope(c, rotary_dim=c.positive("rotary_dim", default=64), interleaved=True)
    block = BlockSpec(
        mixer=attention(c, positions=positions),
        ffn=MLPSpec(intermediate_size=c.positive("n_inner", default=4 * keys.hidden_size(c)), gated=False, bias=True,
                    act=keys.activation(c, "activation_function", default="gelu_new")),
        mixer_norm=norm,
        ffn_norm=None,
        parallel=True,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, head_bias=True,
                   names=names({**qkv, **_NAMES}, optional_prefix="transformer.", ignored=_IGNORED))
