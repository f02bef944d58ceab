"""Nomic BERT and Jina embeddings v3: BERT with rotary positions and fused q, k and v."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import dense_classifier, pooled_classifier
from weft.architectures.encoders import (
    BERT_EMBEDDING,
    bert_norm,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
)
from weft.architectures.gguf_names import GGUF_ENCODER, GGUF_FUSED_QKV, gguf_names
from weft.architectures.parts import layer_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, MLPSpec

_LAYER, _QKV = "encoder.layers.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
_BOTH = {"emb_ln": "embedding.norm", _LAYER + "norm1": "blocks.{i}.mixer_norm", _LAYER + "norm2": "blocks.{i}.ffn_norm",
         _LAYER + "mlp.fc2": "blocks.{i}.ffn.down"}
_NOMIC = {_LAYER + "attn.Wqkv": _QKV, _LAYER + "attn.out_proj": "blocks.{i}.mixer.o",
          _LAYER + "mlp.fc11": "blocks.{i}.ffn.up", _LAYER + "mlp.fc12": "blocks.{i}.ffn.gate"}
_JINA = {_LAYER + "mixer.Wqkv": _QKV, _LAYER + "mixer.out_proj": "blocks.{i}.mixer.o",
         _LAYER + "mlp.fc1": "blocks.{i}.ffn.up"}


@architecture("NomicBertModel", "NomicBertForMaskedLM")
def nomic_bert(c: ConfigReader) -> EncoderSpec:
    """Nomic BERT. Source: arXiv:2402.01613; config.json of nomic-ai/nomic-embed-text-v1.5."""
    for key in ("prenorm", "parallel_block", "use_rms_norm", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "causal",
                "scale_attn_by_inverse_layer_idx",
                "rotary_emb_interleaved"):
        c.expect(key, False)
    c.expect("moe_every_n_layers", None, 0)
    c.harmless("num_experts", "moe_top_k", "rotary_kwargs", "max_trained_positions", "rotary_scaling_factor",
               "rotary_emb_scale_base", "pad_vocab_size_multiple", "use_flash_attn", "fused_bias_fc",
               "fused_dropout_add_ln", "use_xentropy", "tie_word_embeddings", "dense_seq_output", "scale_attn_weights")
    act = c.choice("hidden_act", "activation_function", allowed=("silu", "swiglu"), default="silu")
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size", "n_inner"), gated=True,
                  act="silu" if act == "swiglu" else act)
    norm = bert_norm(c)
    block = encoder_block(c, norm=norm, ffn=ffn, has_bias=False, positions=rope(c, theta=1000.0))
    return encoder(c, embedding=embedding(c, norm=norm), blocks=[block] * keys.num_layers(c), pooling="mean",
                   names=encoder_names("nomic_bert.", BERT_EMBEDDING, _BOTH, _NOMIC),
                   classifier=pooled_classifier(c, "nomic_bert."), gguf=gguf_names(GGUF_ENCODER, GGUF_FUSED_QKV))


@architecture("JinaEmbeddingsV3Model", "JinaEmbeddingsV3ForMaskedLM")
def jina_embeddings_v3(c: ConfigReader) -> EncoderSpec:
    """Jina embeddings v3, without its adapters. Source: arXiv:2409.10173; JinaEmbeddingsV3Config of Transformers."""
    norm = layer_norm(c)
    block = encoder_block(c, norm=norm, positions=rope(c, theta=20000.0))
    return encoder(c, embedding=embedding(c, norm=norm, token_types=1), blocks=[block] * keys.num_layers(c),
                   pooling="mean", names=encoder_names("roberta.", BERT_EMBEDDING, _BOTH, _JINA),
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"))
