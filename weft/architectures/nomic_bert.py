"""Nomic BERT and Jina embeddings v3: BERT with rotary positions and fused q, k and v."""

from __future__ import annotations

from dataclasses import replace

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
from weft.architectures.names import NameMap, Rule, Stacked
from weft.architectures.parts import layer_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Activation, EncoderSpec, MLPSpec, MoESpec

_LAYER, _QKV = "encoder.layers.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
_ORIGINAL = "parametrizations.weight.original"          # a matrix beside its adapters
_BOTH = {"emb_ln": "embedding.norm", _LAYER + "norm1": "blocks.{i}.mixer_norm", _LAYER + "norm2": "blocks.{i}.ffn_norm",
         _LAYER + "mlp.fc2": "blocks.{i}.ffn.down"}
_NOMIC = {_LAYER + "attn.Wqkv": _QKV, _LAYER + "attn.out_proj": "blocks.{i}.mixer.o",
          _LAYER + "mlp.fc11": "blocks.{i}.ffn.up", _LAYER + "mlp.fc12": "blocks.{i}.ffn.gate",
          _LAYER + "mlp.fc1": "blocks.{i}.ffn.up",
          _LAYER + "mlp.router.layer": "blocks.{i}.ffn.router", _LAYER + "mlp.experts.bias": "blocks.{i}.ffn.bias"}
_EXPERTS = _LAYER + "mlp.experts.mlp."
_GATES: dict[str, Activation] = {"swiglu": "silu", "geglu": "gelu"}
# Blocks of the code that Jina's XLM-RoBERTas have with FlashAttention.
FLASH_BLOCK = _BOTH | {_LAYER + "mixer.Wqkv": _QKV, _LAYER + "mixer.out_proj": "blocks.{i}.mixer.o",
                       _LAYER + "mlp.fc1": "blocks.{i}.ffn.up"}


@architecture("NomicBertModel", "NomicBertForMaskedLM")
def nomic_bert(c: ConfigReader) -> EncoderSpec:
    """Nomic BERT. Source: arXiv:2402.01613; config.json of nomic-ai/nomic-embed-text-v1.5.

    With experts in every second layer: arXiv:2502.07972; config.json of nomic-ai/nomic-embed-text-v2-moe.
    """
    for key in ("prenorm", "parallel_block", "causal", "scale_attn_by_inverse_layer_idx", "rotary_emb_interleaved"):
        c.expect(key, False)
    c.expect("use_rms_norm", None, False)
    c.harmless("num_experts", "moe_top_k", "moe_impl", "moe_resid_pdrop", "router_aux_loss_coef", "ffn_div",
               "rotary_kwargs", "max_trained_positions", "rotary_scaling_factor",
               "rotary_emb_scale_base", "pad_vocab_size_multiple", "use_flash_attn", "fused_bias_fc",
               "fused_dropout_add_ln", "use_xentropy", "tie_word_embeddings", "dense_seq_output", "scale_attn_weights")
    norm, experts, stored = bert_norm(c), _nomic_experts(c), {}
    plain = encoder_block(c, norm=norm, ffn=_nomic_mlp(c), has_bias=c.bool("qkv_proj_bias", default=False),
                          positions=rope(c, theta=1000.0))
    blocks = [plain] * keys.num_layers(c)
    if experts is not None:
        every = c.int("moe_every_n_layers")
        blocks = [replace(plain, ffn=experts) if i % every == 1 else plain for i in range(len(blocks))]
        stored = {_EXPERTS + name: Rule(_EXPERTS + name, tuple(
            f"blocks.{{i}}.ffn.experts.{e}.{part}.weight" for e in range(experts.num_experts)),
            Stacked(flat=True, transposed=part == "down")) for name, part in (("w1", "up"), ("w2", "down"))}
    return encoder(c, embedding=embedding(c, norm=norm), blocks=blocks, pooling="mean",
                   names=encoder_names("nomic_bert.", BERT_EMBEDDING, _BOTH, _NOMIC, stored),
                   classifier=pooled_classifier(c, "nomic_bert."), gguf=gguf_names(GGUF_ENCODER, GGUF_FUSED_QKV))


def _nomic_mlp(c: ConfigReader) -> MLPSpec:
    act = c.choice("hidden_act", "activation_function", allowed=("silu", *_GATES, "gelu"), default="silu")
    has_bias = c.bool("mlp_fc1_bias", default=False)
    c.expect("mlp_fc2_bias", has_bias)
    return MLPSpec(intermediate_size=c.positive("intermediate_size", "n_inner"), gated=act != "gelu", bias=has_bias,
                   act=_GATES.get(act, "gelu" if act == "gelu" else "silu"))


def _nomic_experts(c: ConfigReader) -> MoESpec | None:
    """The experts of a model that has some. The weights of a token's experts do not add up to 1."""
    every = c.int("moe_every_n_layers", default=None)
    if not every:
        return None
    if every < 2:
        raise c.error("moe_every_n_layers", every, "2 or more: the second layer of each so many has experts")
    c.expect("num_shared_experts", None, 0)
    for key in ("expert_choice_router", "moe_normalize_expert_weights"):
        c.expect(key, None, False)
    expert = replace(_nomic_mlp(c), gated=False, bias=False)
    return MoESpec(num_experts=c.positive("num_experts"), num_experts_per_token=c.positive("moe_top_k"), expert=expert,
                   renormalize=False, bias=True)


@architecture("JinaEmbeddingsV3Model", "JinaEmbeddingsV3ForMaskedLM")
def jina_embeddings_v3(c: ConfigReader) -> EncoderSpec:
    """Jina embeddings v3, without its adapters. Source: arXiv:2409.10173; JinaEmbeddingsV3Config of Transformers."""
    return _jina(c, encoder_names("roberta.", BERT_EMBEDDING, FLASH_BLOCK))


def jina_flash(c: ConfigReader) -> EncoderSpec:
    """XLM-RoBERTa with rotary positions: jina-embeddings-v3 and jina-colbert-v2 as their authors publish them, without
    the adapters. Source: config.json of jinaai/jina-embeddings-v3; jinaai/xlm-roberta-flash-implementation.
    """
    c.harmless("lora_adaptations", "lora_alpha", "lora_dropout_p", "lora_main_params_trainable", "lora_rank",
               "task_instructions", "truncate_dim", "emb_pooler", "use_flash_attn", "output_past")
    c.expect("use_reg_tokens", None, False)
    rules = {source: target for source, target in (BERT_EMBEDDING | FLASH_BLOCK).items() if "ositions" not in target}
    adapted = {f"{source}.{_ORIGINAL}": _weights(target) for source, target in rules.items() if "norm" not in source}
    adapters = (f"{source}.parametrizations.weight.0.lora_{side}"
                for source in (*rules, "pooler.dense") for side in "AB")
    return _jina(c, encoder_names("roberta.", rules, adapted, ignored=(f"pooler.dense.{_ORIGINAL}", *adapters)))


def _weights(target: str | tuple[str, ...]) -> tuple[str, ...]:
    """The homes of the matrices of a rule's targets."""
    return tuple(f"{home}.weight" for home in ((target,) if isinstance(target, str) else target))


def _jina(c: ConfigReader, names: NameMap) -> EncoderSpec:
    norm = layer_norm(c)
    block = encoder_block(c, norm=norm, positions=rope(c, theta=20000.0))
    return encoder(c, embedding=embedding(c, norm=norm, token_types=1), blocks=[block] * keys.num_layers(c),
                   pooling="mean", names=names,
                   classifier=dense_classifier(c, "classifier.dense", "classifier.out_proj", act="tanh"))
