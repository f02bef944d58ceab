"""GPT-Neo: GPT-2 with unscaled attention, a window in every second layer, and separate matrices."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder, layer_norm, pre_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, LearnedPositions, MLPSpec

_LAYER = "transformer.h.{i}."
_NAMES = names({
    _LAYER + "ln_1": "blocks.{i}.mixer_norm",
    _LAYER + "ln_2": "blocks.{i}.ffn_norm",
    _LAYER + "attn.attention.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "attn.attention.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "attn.attention.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "attn.attention.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "mlp.c_fc": "blocks.{i}.ffn.up",
    _LAYER + "mlp.c_proj": "blocks.{i}.ffn.down",
    "transformer.wte": "embedding.tokens",
    "transformer.wpe": "embedding.positions",
    "transformer.ln_f": "final_norm",
    "lm_head": "head",
}, optional_prefix="transformer.", ignored=(_LAYER + "attn.attention.bias", _LAYER + "attn.attention.masked_bias"))


@architecture("GPTNeoForCausalLM")
def gpt_neo(c: ConfigReader) -> DecoderSpec:
    """GPT-Neo. Source: github.com/EleutherAI/gpt-neo; config.json of EleutherAI/gpt-neo-1.3B."""
    norm, hidden = layer_norm(c), keys.hidden_size(c)
    c.harmless("embed_dropout", "resid_dropout")
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size", default=4 * hidden), gated=False, bias=True,
                  act=keys.activation(c, "activation_function", default="gelu_new"))
    window = c.positive("window_size", default=256)
    blocks = [pre_norm(attention(c, positions=None, scale=1.0, out_bias=True,
                                 window=window if kind == "local" else None), ffn, norm) for kind in _kinds(c)]
    positions = LearnedPositions(num_positions=c.positive("max_position_embeddings", default=2048))
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES, tied=True,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), positions=positions))


def _kinds(c: ConfigReader) -> list[str]:
    """global or local for each layer, from a list for all layers or from [[kinds, how often], …]."""
    found, layers = c.list("attention_layers", default=None), keys.num_layers(c)
    types = c.list("attention_types", default=[[["global", "local"], layers // 2]])
    try:
        found = list(found) if found is not None else [kind for kinds, count in types for kind in list(kinds) * count]
    except (TypeError, ValueError):
        raise c.error("attention_types", types, "a list of [kinds, how often]") from None
    if len(found) != layers or not {"global", "local"}.issuperset(map(str, found)):
        raise c.error("attention_layers", found, f"global or local for each of num_layers = {layers} layers")
    return found
