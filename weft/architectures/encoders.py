"""What encoders share: embeddings, BERT's tensor names, blocks whose tokens see both sides, and the whole encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.names import NameMap, Rule, names
from weft.architectures.parts import attention, layer_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import (
    Alibi,
    AttentionSpec,
    BlockSpec,
    Causal,
    ClassifierSpec,
    Disentangled,
    EmbeddingSpec,
    EncoderSpec,
    FfnSpec,
    HeadLayerSpec,
    LayerNorm,
    LearnedPositions,
    MLPSpec,
    NormSpec,
    QKNorm,
    RelativeBias,
    Rope,
    SeqPooling,
)
from weft.cache.masks import Bidirectional

Rules = Mapping[str, str | tuple[str, ...] | Rule]

BERT_EMBEDDING = {
    "embeddings.word_embeddings": "embedding.tokens",
    "embeddings.position_embeddings": "embedding.positions",
    "embeddings.token_type_embeddings": "embedding.token_types",
    "embeddings.LayerNorm": "embedding.norm",
}
_LAYER = "encoder.layer.{i}."
BERT_BLOCK = {
    _LAYER + "attention.self.query": "blocks.{i}.mixer.q",
    _LAYER + "attention.self.key": "blocks.{i}.mixer.k",
    _LAYER + "attention.self.value": "blocks.{i}.mixer.v",
    _LAYER + "attention.output.dense": "blocks.{i}.mixer.o",
    _LAYER + "attention.output.LayerNorm": "blocks.{i}.mixer_norm",
    _LAYER + "intermediate.dense": "blocks.{i}.ffn.up",
    _LAYER + "output.dense": "blocks.{i}.ffn.down",
    _LAYER + "output.LayerNorm": "blocks.{i}.ffn_norm",
}
# Heads of pre-training and of tasks, which do not change the hidden states.
_HEADS = ("cls.", "lm_head.", "qa_outputs.")


def encoder_names(prefix: str, *rules: Rules, heads: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> NameMap:
    """Names of the tensors of an encoder, which stand behind `prefix` where the checkpoint has a head.

    heads: prefixes of more heads than the usual ones. ignored: stems behind `prefix` that are not loaded.
    """
    merged: dict[str, str | tuple[str, ...] | Rule] = {}
    for each in rules:
        merged |= {prefix + source: replace(target, source=prefix + source) if isinstance(target, Rule) else target
                   for source, target in each.items()}
    # BERT's pooler, a layer on the first token's state, does not change the hidden states.
    stems = ("embeddings.position_ids", "pooler.dense", *ignored)
    return names(merged, optional_prefix=prefix, ignored=tuple(prefix + stem for stem in stems),
                 ignored_prefixes=(*_HEADS, *heads))


def learned_positions(c: ConfigReader, first: int = 0) -> LearnedPositions:
    """Trained positions. first: rows of the table before the first token's."""
    rows = c.positive("max_position_embeddings", default=512)
    if rows <= first:
        raise c.error("max_position_embeddings", rows, f"more than {first}")
    return LearnedPositions(num_positions=rows - first, offset=first)


def relative_bias(c: ConfigReader, *, max_distance: int = 128, is_shared: bool = True) -> RelativeBias:
    """T5's buckets of distances. A quarter of them are single distances, so that many must be below max_distance."""
    buckets = c.positive("relative_attention_num_buckets", default=32)
    if not 0 < buckets // 4 < max_distance:
        raise c.error("relative_attention_num_buckets", buckets, f"4 to {4 * max_distance - 1} buckets")
    return RelativeBias(num_buckets=buckets, max_distance=max_distance, is_shared=is_shared)


def padded_first(c: ConfigReader, default: int = 1) -> int:
    """The first token's row where positions are counted from the padding token's id (RoBERTa)."""
    return c.count("pad_token_id", default=default) + 1


def embedding(c: ConfigReader, *, norm: NormSpec | None, positions: LearnedPositions | None = None,
              token_types: int | None = 2, width: int | None = None, projects_last: bool = False) -> EmbeddingSpec:
    """Tokens, token types and positions. token_types: the family's default for their number; None: it has none."""
    types = 0 if token_types is None else c.count("type_vocab_size", default=token_types)
    return EmbeddingSpec(vocab_size=c.positive("vocab_size"), norm=norm, positions=positions, token_types=types,
                         embedding_dim=width if projects_last else None, projects_last=projects_last)


def encoder_block(c: ConfigReader, *, norm: NormSpec, ffn: FfnSpec | None = None, is_pre_norm: bool = False,
                  positions: Rope | Alibi | RelativeBias | Disentangled | None = None, has_bias: bool = True,
                  scale: float | None = None, qk_norm: QKNorm | None = None, num_kv_heads: int | None = None,
                  mask: Bidirectional | Causal = Bidirectional(), k_bias: bool = True) -> BlockSpec:
    """Attention and a feed-forward part; norms come after the sums (BERT) unless is_pre_norm.

    ffn None: two matrices with biases. has_bias: attention's matrices have biases; k_bias: k's, too. num_kv_heads None:
    all heads.
    """
    c.expect("add_cross_attention", False)
    c.harmless("attention_probs_dropout_prob", "tie_word_embeddings", "classifier_dropout", "pooler_hidden_size")
    mixer = attention(c, positions=positions, num_kv_heads=num_kv_heads or keys.num_heads(c), qkv_bias=has_bias,
                      out_bias=has_bias, scale=scale, qk_norm=qk_norm,
                      k_bias=k_bias, mask=mask if isinstance(mask, Bidirectional) else None)
    plain = ffn or MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False, bias=True,
                           act=keys.activation(c, default="gelu"))
    return BlockSpec(mixer=mixer, ffn=plain, mixer_norm=norm, ffn_norm=norm, post_residual=not is_pre_norm)


def encoder(c: ConfigReader, *, embedding: EmbeddingSpec, blocks: Sequence[BlockSpec], names: NameMap,
            final_norm: NormSpec | None = None, pooling: SeqPooling = "cls", order: tuple[int, ...] | None = None,
            classifier: ClassifierSpec | None = None, token_classifier: ClassifierSpec | None = None,
            gguf: NameMap | None = None, lm_head: tuple[HeadLayerSpec, ...] = ()) -> EncoderSpec:
    """The whole encoder. pooling: of checkpoints that name none. gguf: the tensors' names in GGUF files.

    classifier, token_classifier: of `...ForSequenceClassification` and `...ForTokenClassification`. lm_head: of
    `...ForMaskedLM`.
    """
    positions = embedding.positions
    if c.bool("is_decoder", default=False):
        blocks = [causal(block) for block in blocks]
    return EncoderSpec(
        hidden_size=keys.hidden_size(c), vocab_size=embedding.vocab_size, embedding=embedding, blocks=tuple(blocks),
        max_position=keys.max_position(c) if positions is None else positions.num_positions, final_norm=final_norm,
        default_pooling=pooling, order=order, names=names, gguf_names=gguf, sequence_classifier=classifier,
        token_classifier=token_classifier, lm_head=lm_head)


def causal(block: BlockSpec) -> BlockSpec:
    """The block with attention to earlier tokens only."""
    assert isinstance(block.mixer, AttentionSpec), "encoders have attention in each block"
    return replace(block, mixer=replace(block.mixer, mask=Causal()))


def bert_norm(c: ConfigReader) -> LayerNorm:
    """LayerNorm with BERT's epsilon."""
    return layer_norm(c, eps=1e-12)
