"""ModernBERT as a decoder (Ettin): its blocks with causal attention, and a head for tokens."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder, gated_mlp, layer_norm, layer_windows, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope import has_layer_ropes
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, HeadTransform, Rope

_LAYER = "model.layers.{i}."
_NAMES = names({
    "model.embeddings.tok_embeddings": "embedding.tokens",
    "model.embeddings.norm": "embedding.norm",
    _LAYER + "attn_norm": "blocks.{i}.mixer_norm",
    _LAYER + "attn.q_proj": "blocks.{i}.mixer.q",
    _LAYER + "attn.k_proj": "blocks.{i}.mixer.k",
    _LAYER + "attn.v_proj": "blocks.{i}.mixer.v",
    _LAYER + "attn.Wo": "blocks.{i}.mixer.o",
    _LAYER + "mlp_norm": "blocks.{i}.ffn_norm",
    _LAYER + "mlp.Wi": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
    _LAYER + "mlp.Wo": "blocks.{i}.ffn.down",
    "model.final_norm": "final_norm",
    "lm_head.dense": "head.transform",
    "lm_head.norm": "head.transform_norm",
    "decoder": "head",
}, optional_prefix="model.")


@architecture("ModernBertDecoderForCausalLM")
def modernbert_decoder(c: ConfigReader) -> DecoderSpec:
    """ModernBERT as a decoder. Source: arXiv:2507.11412; config.json of jhu-clsp/ettin-decoder-150m."""
    norm = layer_norm(c, has_bias=c.bool("norm_bias", default=False))
    bias = c.bool("attention_bias", default=False)
    c.harmless("embedding_dropout", "mlp_dropout", "initializer_cutoff_factor", "sliding_window",
               "position_embedding_type", "reference_compile", "repad_logits_with_grad", "sparse_prediction",
               "sparse_pred_ignore_index",
               "deterministic_flash_attn", "classifier_pooling", "causal_mask")
    every, window = c.positive("global_attn_every_n_layers", default=3), c.positive("local_attention", default=128) // 2
    windows = layer_windows(c, window, [layer % every != 0 for layer in range(keys.num_layers(c))])
    ffn = gated_mlp(c, bias=c.bool("mlp_bias", default=False), act="hidden_activation", default_act="gelu")
    blocks = [pre_norm(attention(c, positions=_rope(c, each), num_kv_heads=keys.num_heads(c), qkv_bias=bias,
                                 out_bias=bias, window=each), ffn, norm) for each in windows]
    blocks[0] = replace(blocks[0], mixer_norm=None)                            # the embedding's norm is its norm
    transform = HeadTransform(act=keys.activation(c, "classifier_activation", default="gelu"), norm=norm,
                              bias=c.bool("classifier_bias", default=False))
    spec = decoder(c, blocks=blocks, final_norm=norm, names=_NAMES, tied=True,
                   head_bias=c.bool("decoder_bias", default=True),
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), norm=norm))
    return replace(spec, head=replace(spec.head, transform=transform))


def _rope(c: ConfigReader, window: int | None) -> Rope:
    kind, key, theta = (("full_attention", "global_rope_theta", 160000.0) if window is None else
                        ("sliding_attention", "local_rope_theta", 10000.0))
    if has_layer_ropes(c):
        return rope(c, theta=theta, layer_type=kind)
    return Rope(theta=c.positive_float(key, default=theta), rotary_dim=keys.head_dim(c))
