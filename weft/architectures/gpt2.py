"""GPT-2 and GPT: learned positions, LayerNorm, matrices stored [in, out]."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import Plain, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, BlockSpec, DecoderSpec, EmbeddingSpec, LearnedPositions, MLPSpec


def _stored_in_out(source: str, *targets: str) -> dict[str, Rule]:
    return {f"transformer.h.{{i}}.{source}": Rule("transformer.h.{i}." + source, targets, Plain(transposed=True))}


_NAMES = names(
    _stored_in_out("attn.c_attn", "blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    | _stored_in_out("attn.c_proj", "blocks.{i}.mixer.o")
    | _stored_in_out("mlp.c_fc", "blocks.{i}.ffn.up")
    | _stored_in_out("mlp.c_proj", "blocks.{i}.ffn.down")
    | {
        "transformer.h.{i}.ln_1": "blocks.{i}.mixer_norm",
        "transformer.h.{i}.ln_2": "blocks.{i}.ffn_norm",
        "transformer.wte": "embedding.tokens",
        "transformer.wpe": "embedding.positions",
        "transformer.ln_f": "final_norm",
        "lm_head": "head",
    },
    optional_prefix="transformer.", ignored=("transformer.h.{i}.attn.bias", "transformer.h.{i}.attn.masked_bias"),
)


@architecture("GPT2LMHeadModel")
def gpt2(c: ConfigReader) -> DecoderSpec:
    """GPT-2. Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners; config.json of gpt2."""
    norm, hidden = layer_norm(c), keys.hidden_size(c)
    c.expect("add_cross_attention", False)
    c.harmless("n_ctx", "reorder_and_upcast_attn")
    scale = keys.head_dim(c) ** -0.5 if c.bool("scale_attn_weights", default=True) else 1.0
    falling = c.bool("scale_attn_by_inverse_layer_idx", default=False)
    ffn = MLPSpec(intermediate_size=c.positive("n_inner", default=4 * hidden), gated=False, bias=True,
                  act=keys.activation(c, "activation_function", default="gelu_new"))
    blocks = [
        BlockSpec(mixer=attention(c, positions=None, num_kv_heads=keys.num_heads(c), qkv_bias=True,
                                  out_bias=True, scale=scale / (i + 1) if falling else scale), ffn=ffn,
                  mixer_norm=norm, ffn_norm=norm)
        for i in range(keys.num_layers(c))
    ]
    positions = LearnedPositions(num_positions=c.positive("n_positions", "max_position_embeddings", default=1024))
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES, tied=True,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), positions=positions),
                   gguf=gguf_names(GGUF_FUSED_QKV, {"position_embd": "embedding.positions"}))


_OPENAI_NAMES = names(
    _stored_in_out("attn.c_attn", "blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    | _stored_in_out("attn.c_proj", "blocks.{i}.mixer.o")
    | _stored_in_out("mlp.c_fc", "blocks.{i}.ffn.up")
    | _stored_in_out("mlp.c_proj", "blocks.{i}.ffn.down")
    | {
        "transformer.h.{i}.ln_1": "blocks.{i}.mixer_norm",
        "transformer.h.{i}.ln_2": "blocks.{i}.ffn_norm",
        "transformer.tokens_embed": "embedding.tokens",
        "transformer.positions_embed": "embedding.positions",
        "lm_head": "head",
    },
    optional_prefix="transformer.", ignored=("transformer.h.{i}.attn.bias", "transformer.position_ids"),
)
_OPENAI_ACTS: dict[str, Activation] = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "swish"}


@architecture("OpenAIGPTLMHeadModel")
def openai_gpt(c: ConfigReader) -> DecoderSpec:
    """GPT 1: norms after each sum. Source: Radford et al. 2018; config.json of openai-community/openai-gpt."""
    norm, hidden = layer_norm(c), keys.hidden_size(c)
    c.harmless("n_ctx", "n_special", "predict_special_tokens")
    act = _OPENAI_ACTS[c.choice("afn", allowed=_OPENAI_ACTS, default="gelu")]
    block = BlockSpec(
        mixer=attention(c, positions=None, num_kv_heads=keys.num_heads(c), qkv_bias=True, out_bias=True),
        ffn=MLPSpec(intermediate_size=4 * hidden, gated=False, bias=True, act=act),
        mixer_norm=norm, ffn_norm=norm, post_residual=True,
    )
    positions = LearnedPositions(num_positions=c.positive("n_positions", default=512))
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=None, names=_OPENAI_NAMES, tied=True,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), positions=positions))
