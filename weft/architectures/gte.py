"""GTE ("new" architecture): BERT with rotary positions and a gated feed-forward part."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.classifiers import pooled_classifier
from weft.architectures.encoders import (
    BERT_EMBEDDING,
    bert_norm,
    embedding,
    encoder,
    encoder_block,
    encoder_names,
)
from weft.architectures.parts import rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import EncoderSpec, MLPSpec

_LAYER = "encoder.layer.{i}."
_RULES = {
    _LAYER + "attention.qkv_proj": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v"),
    _LAYER + "attention.o_proj": "blocks.{i}.mixer.o",
    _LAYER + "attn_ln": "blocks.{i}.mixer_norm",
    _LAYER + "mlp.up_gate_proj": ("blocks.{i}.ffn.up", "blocks.{i}.ffn.gate"),
    _LAYER + "mlp.down_proj": "blocks.{i}.ffn.down",
    _LAYER + "mlp_ln": "blocks.{i}.ffn_norm",
}


@architecture("NewModel", "NewForMaskedLM", "GteNewModel")
def new_gte(c: ConfigReader) -> EncoderSpec:
    """GTE v1.5 and multilingual. Source: arXiv:2407.19669; config.json of Alibaba-NLP/gte-multilingual-base."""
    return _gte(c, "new.")


@architecture("GteModel", "GteForMaskedLM")
def gte(c: ConfigReader) -> EncoderSpec:
    """GTE and Snowflake Arctic Embed 2. Source: arXiv:2407.19669; Snowflake/snowflake-arctic-embed-m-v2.0."""
    return _gte(c, "gte.")


def _gte(c: ConfigReader, prefix: str) -> EncoderSpec:
    c.expect("position_embedding_type", None, "rope", "absolute")           # the default of BERT's class is "absolute"
    c.expect("layer_norm_type", None, "layer_norm")
    for key in ("logn_attention_scale", "logn_attention_clip1"):
        c.expect(key, False)
    c.harmless("pack_qkv", "unpad_inputs", "use_memory_efficient_attention", "rotary_kwargs", "matryoshka_dimensions")
    act = c.choice("hidden_act", allowed=("gelu", "geglu"), default="gelu")        # both are the gate's function
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=True, down_bias=True,
                  act="gelu" if act == "geglu" else act)
    norm = bert_norm(c)
    block = encoder_block(c, norm=norm, ffn=ffn, positions=rope(c, theta=160000.0))
    return encoder(c, embedding=embedding(c, norm=norm, token_types=1), blocks=[block] * keys.num_layers(c),
                   names=encoder_names(prefix, BERT_EMBEDDING, _RULES), classifier=pooled_classifier(c, prefix))
