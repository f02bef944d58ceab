"""XGLM and BioGPT: Fairseq's decoders, with a LayerNorm before each part, biases, and embeddings scaled by sqrt(E)."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.names import NameMap, names
from weft.architectures.parts import attention, decoder, pre_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, LayerNorm, LearnedPositions, MLPSpec, Sinusoids


@architecture("XGLMForCausalLM")
def xglm(c: ConfigReader) -> DecoderSpec:
    """XGLM. Source: arXiv:2112.10668; config.json of facebook/xglm-564M."""
    c.expect("add_cross_attention", False)
    c.harmless("init_std")
    count = c.positive("max_position_embeddings", default=2048)
    positions = Sinusoids(num_positions=count, offset=2, reaches_last=True)
    return _fairseq(c, positions, LayerNorm(eps=1e-5), "ffn_dim", "activation_function", _names("model."))


@architecture("BioGptForCausalLM")
def biogpt(c: ConfigReader) -> DecoderSpec:
    """BioGPT. Source: arXiv:2210.10341; config.json of microsoft/biogpt."""
    c.harmless("attention_probs_dropout_prob")
    positions = LearnedPositions(num_positions=c.positive("max_position_embeddings", default=1024), offset=2)
    # The layers' norms have PyTorch's epsilon, whatever layer_norm_eps says.
    c.harmless("layer_norm_eps")
    return _fairseq(c, positions, LayerNorm(eps=1e-5), "intermediate_size", "hidden_act", _names("biogpt."))


def _fairseq(c: ConfigReader, positions: LearnedPositions | Sinusoids, norm: LayerNorm, size: str, act: str,
             names: NameMap) -> DecoderSpec:
    """size, act: the config's keys for the MLP's inner size and activation."""
    mixer = attention(c, positions=None, num_kv_heads=keys.num_heads(c), qkv_bias=True, out_bias=True)
    ffn = MLPSpec(intermediate_size=c.positive(size), act=keys.activation(c, act, default="gelu"), gated=False,
                  bias=True)
    scale = keys.hidden_size(c) ** 0.5 if c.bool("scale_embedding", default=True) else 1.0
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=names, tied=True,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), positions=positions, scale=scale))


def _names(prefix: str) -> NameMap:
    layer = prefix + "layers.{i}."
    return names({
        layer + "self_attn_layer_norm": "blocks.{i}.mixer_norm",
        layer + "final_layer_norm": "blocks.{i}.ffn_norm",
        layer + "self_attn.q_proj": "blocks.{i}.mixer.q",
        layer + "self_attn.k_proj": "blocks.{i}.mixer.k",
        layer + "self_attn.v_proj": "blocks.{i}.mixer.v",
        layer + "self_attn.out_proj": "blocks.{i}.mixer.o",
        layer + "fc1": "blocks.{i}.ffn.up",
        layer + "fc2": "blocks.{i}.ffn.down",
        prefix + "embed_tokens": "embedding.tokens",
        prefix + "embed_positions": "embedding.positions",
        prefix + "layer_norm": "final_norm",
        "lm_head": "head",
        "output_projection": "head",
    }, optional_prefix=prefix, ignored=(prefix + "embed_positions.weights",))
