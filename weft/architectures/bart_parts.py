"""What the descendants of BART share: two stacks of attention with biases, and their tensor names.

Families differ in positions, in where the norms are, and in which tables the stacks share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from weft.architectures import keys
from weft.architectures.encoder_decoders import cross_attention, encoder_decoder, of_encoder, pair_names
from weft.architectures.encoders import Rules
from weft.architectures.names import Flattened, NameMap, Rule
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    Causal,
    DecoderSpec,
    EmbeddingSpec,
    EncoderSpec,
    HeadSpec,
    LayerNorm,
    LearnedPositions,
    MLPSpec,
    Sinusoids,
)
from weft.cache.masks import Bidirectional

NORM = LayerNorm(eps=1e-5)
Positions = LearnedPositions | Sinusoids
# Keys that older files have beside those of Transformers' classes.
_OLD = ("init_std", "num_hidden_layers", "encoder_layerdrop", "decoder_layerdrop", "classif_dropout", "output_past",
        "normalize_before", "add_final_layer_norm", "add_bias_logits", "normalize_embedding", "extra_pos_embeddings",
        "static_position_embeddings", "force_bos_token_to_be_generated", "gradient_checkpointing", "save_step")


def _side(side: str) -> Rules:
    layer = side + ".layers.{i}."
    return {
        f"{layer}self_attn.q_proj": "blocks.{i}.mixer.q",
        f"{layer}self_attn.k_proj": "blocks.{i}.mixer.k",
        f"{layer}self_attn.v_proj": "blocks.{i}.mixer.v",
        f"{layer}self_attn.out_proj": "blocks.{i}.mixer.o",
        f"{layer}self_attn_layer_norm": "blocks.{i}.mixer_norm",
        f"{layer}fc1": "blocks.{i}.ffn.up",
        f"{layer}fc2": "blocks.{i}.ffn.down",
        f"{layer}final_layer_norm": "blocks.{i}.ffn_norm",
        f"{side}.embed_positions": "embedding.positions",
        f"{side}.layernorm_embedding": "embedding.norm",
        f"{side}.layer_norm": "final_norm",
    }


def bart_names(*, prefix: str = "model.", shares_table: bool = True, encoder: Rules | None = None,
               ignored: tuple[str, ...] = (), head: str = "lm_head") -> NameMap:
    """Names of the tensors. prefix: of all but the head. encoder: more rules of the encoder. head: the head's name."""
    both = ("encoder.embed_tokens", "decoder.embed_tokens")
    tables = {f"{prefix}shared": "embedding.tokens"} if shares_table else {
        f"{prefix}{both[0]}": "encoder.embedding.tokens", f"{prefix}{both[1]}": "embedding.tokens"}
    cross = {f"decoder.layers.{{i}}.encoder_attn.{name}_proj": f"blocks.{{i}}.cross.{name}" for name in "qkv"} | {
        "decoder.layers.{i}.encoder_attn.out_proj": "blocks.{i}.cross.o",
        "decoder.layers.{i}.encoder_attn_layer_norm": "blocks.{i}.cross_norm"}
    sides = {**of_encoder({**_side("encoder"), **(encoder or {})}), **_side("decoder"), **cross}
    ends = {head: "head", "final_logits_bias": Rule("final_logits_bias", ("head.bias",), Flattened())}
    left = (*(both if shares_table else ()), "encoder.version", "decoder.version", "encoder.embed_positions.weights",
            "decoder.embed_positions.weights", *ignored)
    return pair_names(tables, {prefix + source: target for source, target in sides.items()}, ends,
                      optional_prefix=prefix, ignored=tuple(prefix + stem for stem in left))


def bart_block(c: ConfigReader, side: str, *, is_pre_norm: bool, mask: Bidirectional = Bidirectional(),
               k_bias: bool = True) -> BlockSpec:
    """A block of the encoder or the decoder. side: "encoder" or "decoder". mask: of an encoder's block."""
    heads, hidden = c.positive(f"{side}_attention_heads"), keys.hidden_size(c)
    if hidden % heads:
        raise c.error(f"{side}_attention_heads", heads, f"a divisor of d_model = {hidden}")
    mixer = AttentionSpec(num_heads=heads, num_kv_heads=heads, head_dim=hidden // heads, positions=None,
                          scale=(hidden // heads) ** -0.5, qkv_bias=True, k_bias=k_bias, out_bias=True,
                          mask=mask if side == "encoder" else Causal())
    ffn = MLPSpec(intermediate_size=c.positive(f"{side}_ffn_dim"), gated=False, bias=True,
                  act=keys.activation(c, "activation_function", default="gelu"))
    block = BlockSpec(mixer=mixer, ffn=ffn, mixer_norm=NORM, ffn_norm=NORM, post_residual=not is_pre_norm)
    return block if side == "encoder" else replace(block, cross=cross_attention(mixer, hidden), cross_norm=NORM)


def bart_model(c: ConfigReader, names: NameMap, positions: Callable[[str], Positions], *, is_pre_norm: bool = False,
               has_embedding_norm: bool = True, has_final_norm: bool = False, scales: bool = False,
               has_head_bias: bool = True, shares_table: bool = True, encoder_blocks: Sequence[BlockSpec] | None = None,
               vocab_sizes: tuple[int, int] | None = None, norm_before_positions: bool = False,
               tied: bool = True, k_bias: bool = True, source: EmbeddingSpec | None = None) -> DecoderSpec:
    """The whole model.

    positions: of each side, "encoder" or "decoder". scales, tied: the family's defaults for scale_embedding and
    tie_word_embeddings. encoder_blocks: where they are not all alike. vocab_sizes: of encoder and decoder; None: the
    config's vocab_size. norm_before_positions: in the decoder, as in EmbeddingSpec. k_bias: as in AttentionSpec.
    source: the encoder's embedding; None: like the decoder's.
    """
    c.harmless(*_OLD)
    hidden = keys.hidden_size(c)
    scale = hidden ** 0.5 if c.bool("scale_embedding", default=scales) else 1.0
    sizes = vocab_sizes or (c.positive("vocab_size"),) * 2
    norm, final_norm = NORM if has_embedding_norm else None, NORM if has_final_norm else None
    like_target, target = (EmbeddingSpec(vocab_size=size, scale=scale, norm=norm, positions=positions(side))
                      for side, size in zip(("encoder", "decoder"), sizes, strict=True))
    target = replace(target, norm_before_positions=norm_before_positions)
    head = HeadSpec(tied=c.bool("tie_word_embeddings", default=tied), bias=has_head_bias)
    block = bart_block(c, "decoder", is_pre_norm=is_pre_norm, k_bias=k_bias)
    source = source or like_target
    if not c.bool("is_encoder_decoder", default=True):
        return _decoder_alone(c, target, block, final_norm, replace(head, bias=False))
    blocks = encoder_blocks or [
        bart_block(c, "encoder", is_pre_norm=is_pre_norm, k_bias=k_bias)] * c.positive("encoder_layers")
    encoder = EncoderSpec(
        hidden_size=hidden, vocab_size=source.vocab_size, max_position=positions("encoder").num_positions,
        embedding=source, blocks=tuple(blocks), final_norm=final_norm, names=names, default_pooling="mean")
    return encoder_decoder(
        c, encoder=encoder, embedding=target, blocks=[block] * c.positive("decoder_layers"), final_norm=final_norm,
        names=names, shares_embedding=shares_table, head=head, max_position=positions("decoder").num_positions)


def _decoder_alone(c: ConfigReader, embedding: EmbeddingSpec, block: BlockSpec, final_norm: LayerNorm | None,
                   head: HeadSpec) -> DecoderSpec:
    """The decoder without an encoder, as `…ForCausalLM` has it."""
    c.harmless("encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "share_encoder_decoder_embeddings",
               "forced_eos_token_id", "decoder_vocab_size")
    alone, positions = replace(block, cross=None, cross_norm=None), embedding.positions
    return DecoderSpec(
        hidden_size=keys.hidden_size(c), vocab_size=embedding.vocab_size, embedding=embedding, final_norm=final_norm,
        max_position=None if positions is None else positions.num_positions, head=head,
        blocks=(alone,) * c.positive("decoder_layers"), names=_ALONE)


def _names_alone() -> NameMap:
    """Names of the decoder's tensors. Those of its cross attention, which never runs, are not loaded."""
    whole, cross = bart_names(shares_table=False), "model.decoder.layers.{i}.encoder_attn"
    rules = tuple(rule for rule in whole.rules
                  if not any(".cross" in target or target.startswith("encoder.") for target in rule.targets))
    unused = (f"{cross}_layer_norm", *(f"{cross}.{name}_proj" for name in ("q", "k", "v", "out")))
    return replace(whole, rules=rules, ignored=(*whole.ignored, *unused))


_ALONE = _names_alone()


def learned(c: ConfigReader, *, offset: int = 0, default: int = 1024) -> Callable[[str], LearnedPositions]:
    """The same number of trained positions on both sides. offset: rows before position 0."""
    count = c.positive("max_position_embeddings", default=default)
    return lambda side: LearnedPositions(num_positions=count, offset=offset)
