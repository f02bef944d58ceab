"""Building blocks shared by many families: the usual attention, MLP, experts, norms, windows, names and whole decoder.

Each function reads the keys that Hugging Face configs use, and returns a part of `spec.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weft.architectures import keys
from weft.architectures.hybrid import layers_in
from weft.architectures.names import NameMap, Rule, names
from weft.architectures.reader import ConfigReader
from weft.architectures.rope import rope
from weft.architectures.spec import (
    Activation,
    Alibi,
    AttentionSpec,
    BlockSpec,
    Causal,
    DecoderSpec,
    Disentangled,
    EmbeddingSpec,
    FfnSpec,
    HeadSpec,
    HeadTransform,
    LayerNorm,
    MixerSpec,
    MLPSpec,
    MoESpec,
    NormSpec,
    QKNorm,
    RelativeBias,
    RMSNorm,
    Rope,
    SlidingWindow,
)
from weft.cache.masks import Bidirectional
from weft.errors import DescriptionError

# The most common layout, of Llama and its many copies: {stem of a checkpoint tensor: home}.
LLAMA_BLOCK = {
    "model.layers.{i}.input_layernorm": "blocks.{i}.mixer_norm",
    "model.layers.{i}.post_attention_layernorm": "blocks.{i}.ffn_norm",
    "model.layers.{i}.self_attn.q_proj": "blocks.{i}.mixer.q",
    "model.layers.{i}.self_attn.k_proj": "blocks.{i}.mixer.k",
    "model.layers.{i}.self_attn.v_proj": "blocks.{i}.mixer.v",
    "model.layers.{i}.self_attn.o_proj": "blocks.{i}.mixer.o",
    "model.layers.{i}.self_attn.q_norm": "blocks.{i}.mixer.q_norm",
    "model.layers.{i}.self_attn.k_norm": "blocks.{i}.mixer.k_norm",
    "model.layers.{i}.mlp.gate_proj": "blocks.{i}.ffn.gate",
    "model.layers.{i}.mlp.up_proj": "blocks.{i}.ffn.up",
    "model.layers.{i}.mlp.down_proj": "blocks.{i}.ffn.down",
}
LLAMA_ENDS = {
    "model.embed_tokens": "embedding.tokens",
    "model.norm": "final_norm",
    "lm_head": "head",
}
LLAMA_NAMES = names(LLAMA_BLOCK | LLAMA_ENDS, optional_prefix="model.",
                    ignored=("model.layers.{i}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"))

# Names of norms before and after each part (Gemma 2 and 3), or only after (OLMo 2).
SANDWICH_NORMS = {
    "model.layers.{i}.post_attention_layernorm": "blocks.{i}.mixer_post_norm",
    "model.layers.{i}.pre_feedforward_layernorm": "blocks.{i}.ffn_norm",
    "model.layers.{i}.post_feedforward_layernorm": "blocks.{i}.ffn_post_norm",
}
QWEN_EXPERTS = {
    "model.layers.{i}.mlp.gate": "blocks.{i}.ffn.router",
    "model.layers.{i}.mlp.experts.{e}.gate_proj": "blocks.{i}.ffn.experts.{e}.gate",
    "model.layers.{i}.mlp.experts.{e}.up_proj": "blocks.{i}.ffn.experts.{e}.up",
    "model.layers.{i}.mlp.experts.{e}.down_proj": "blocks.{i}.ffn.experts.{e}.down",
}


def llama_names(changes: Mapping[str, str | tuple[str, ...] | Rule], *, by_row: tuple[str, ...] = (),
                ignored: tuple[str, ...] = (), ignored_prefixes: tuple[str, ...] = ()) -> NameMap:
    """LLAMA_NAMES with some rules added or replaced, which come first."""
    return names(dict(changes) | LLAMA_BLOCK | LLAMA_ENDS | dict(changes), optional_prefix="model.",
                 ignored=(*LLAMA_NAMES.ignored, *ignored), by_row=by_row, ignored_prefixes=ignored_prefixes)


def rms_norm(c: ConfigReader, *, eps: float = 1e-6, offset: float = 0.0, cast_before_weight: bool = True) -> RMSNorm:
    """RMSNorm with the config's epsilon. eps: the family's default."""
    return RMSNorm(eps=c.positive_float("rms_norm_eps", default=eps), offset=offset,
                   cast_before_weight=cast_before_weight)


def layer_norm(c: ConfigReader, *, has_bias: bool = True, eps: float = 1e-5) -> LayerNorm:
    """LayerNorm with the config's epsilon. eps: the family's default."""
    names = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps")
    return LayerNorm(eps=c.positive_float(*names, default=eps), has_bias=has_bias)


def attention(c: ConfigReader, *, positions: Rope | Alibi | RelativeBias | Disentangled | None,
              num_kv_heads: int | None = None, scale: float | None = None, qkv_bias: bool = False,
              out_bias: bool = False, qk_norm: QKNorm | None = None, softcap: float | None = None,
              clip: float | None = None, window: int | None = None,
              mask: Bidirectional | None = None, k_bias: bool = True) -> AttentionSpec:
    """Grouped-query attention with the config's sizes.

    scale None: head_dim ** -0.5. window: tokens of a sliding window, or None. mask None: causal.
    """
    size = keys.head_dim(c)
    if isinstance(positions, Rope) and positions.rotary_dim > size:
        raise c.error("rotary_dim", positions.rotary_dim, f"at most the size of a head, {size}")
    return AttentionSpec(
        num_heads=keys.num_heads(c), num_kv_heads=num_kv_heads or keys.num_kv_heads(c), head_dim=size,
        scale=size ** -0.5 if scale is None else scale, positions=positions,
        mask=mask or (Causal() if window is None else SlidingWindow(window=window)), qkv_bias=qkv_bias, k_bias=k_bias,
        out_bias=out_bias, qk_norm=qk_norm, softcap=softcap, clip=clip,
    )


def gated_mlp(c: ConfigReader, *, bias: bool = False, act: str = "hidden_act", default_act: Activation = "silu",
              size: str = "intermediate_size") -> MLPSpec:
    """down(act(gate(x)) * up(x)). act, size: the config's keys for the activation and the inner size."""
    return MLPSpec(intermediate_size=c.positive(size), act=keys.activation(c, act, default=default_act), gated=True,
                   bias=bias)


def experts(c: ConfigReader, *, expert: MLPSpec, renormalize: bool, per_token: int, shared: MLPSpec | None = None,
            shared_gate: bool = False) -> MoESpec:
    """Routed experts. per_token: the family's default for the number of experts per token."""
    count = c.positive("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    picked = c.positive("num_experts_per_tok", "moe_k", "moe_topk", default=per_token)
    if picked > count:
        raise c.error("num_experts_per_tok", picked, f"at most num_experts = {count}")
    return MoESpec(num_experts=count, num_experts_per_token=picked, expert=expert, renormalize=renormalize,
                   shared=shared, shared_gate=shared_gate)


def pre_norm(mixer: MixerSpec, ffn: FfnSpec, norm: NormSpec, *, residual_scale: float = 1.0) -> BlockSpec:
    """The most common block: h += mixer(norm(h)); h += ffn(norm(h))."""
    return BlockSpec(mixer=mixer, ffn=ffn, mixer_norm=norm, ffn_norm=norm, residual_scale=residual_scale)


def is_sparse_layer(c: ConfigReader, layer: int) -> bool:
    """Whether a layer of a Qwen mixture of experts has experts, from `mlp_only_layers` and `decoder_sparse_step`."""
    dense = layers_in(c, "mlp_only_layers")
    return layer not in dense and (layer + 1) % c.positive("decoder_sparse_step", default=1) == 0


def full_every(c: ConfigReader, every: int) -> list[bool]:
    """Whether a layer has a window, [L], in families whose every n-th layer has none. every: the default of n, which
    `sliding_window_pattern` or `global_attn_every_n_layers` says.
    """
    step = c.positive("sliding_window_pattern", "_sliding_window_pattern", "global_attn_every_n_layers", default=every)
    return [(layer + 1) % step != 0 for layer in range(keys.num_layers(c))]


def sliding_window(c: ConfigReader, *, default: int | None = None) -> int | None:
    """`sliding_window` in tokens; null and 0 mean none. default: the family's window if the key is missing."""
    size = c.int("sliding_window", default=None if c.is_given("sliding_window") else default)
    if size is not None and size < 0:
        raise c.error("sliding_window", size, "at least 1, or null")
    return size or None


def layer_windows(c: ConfigReader, window: int | None, is_sliding: Sequence[bool] | None = None) -> list[int | None]:
    """The window of each layer, [L]: from `layer_types` if given, else from is_sliding [L] (None: all layers slide)."""
    layers = keys.num_layers(c)
    types = c.list("layer_types", default=None)
    if types is None:
        return [window if slides else None for slides in is_sliding or [True] * layers]
    if len(types) != layers:
        raise c.error("layer_types", types, f"a list of num_hidden_layers = {layers} entries")
    for entry in types:
        if entry not in ("full_attention", "sliding_attention"):
            raise c.error("layer_types", entry, "full_attention or sliding_attention")
    if "sliding_attention" in types and window is None:
        raise c.error("sliding_window", window, "a size, because layer_types has sliding_attention")
    return [window if entry == "sliding_attention" else None for entry in types]


def qwen_windows(c: ConfigReader) -> list[int | None]:
    """The window of each layer of Qwen 2 and later, [L].

    With `use_sliding_window`, layers from `max_window_layers` on have the window; otherwise none has.
    """
    first, layers = c.count("max_window_layers", default=28), keys.num_layers(c)
    if not c.bool("use_sliding_window", default=False):
        c.harmless("sliding_window")
        return layer_windows(c, None)
    return layer_windows(c, sliding_window(c, default=4096), [layer >= first for layer in range(layers)])


def decoder(c: ConfigReader, *, blocks: Sequence[BlockSpec], final_norm: NormSpec | None, names: NameMap,
            embedding: EmbeddingSpec | None = None, tied: bool = False, head_bias: bool = False,
            logit_scale: float = 1.0, logit_softcap: float | None = None, head_transform: HeadTransform | None = None,
            max_position: int | None = None, gguf: NameMap | None = None,
            mistral: NameMap | None = None) -> DecoderSpec:
    """The whole model.

    tied: the family's default for tie_word_embeddings. gguf, mistral: the family's tensor names in GGUF files, and in
    files of Mistral's own format.
    """
    vocab = c.positive("vocab_size")
    if c.is_given("num_hidden_layers") and len(blocks) != keys.num_layers(c):
        raise DescriptionError("decoder.blocks", f"{len(blocks)} blocks",
                               expected=f"num_hidden_layers = {keys.num_layers(c)} blocks, one for each layer")
    return DecoderSpec(
        hidden_size=keys.hidden_size(c), vocab_size=vocab, max_position=max_position or keys.max_position(c),
        embedding=embedding or EmbeddingSpec(vocab_size=vocab), blocks=tuple(blocks), final_norm=final_norm,
        head=HeadSpec(tied=c.bool("tie_word_embeddings", default=tied), bias=head_bias, scale=logit_scale,
                      softcap=logit_softcap, transform=head_transform),
        names=names, gguf_names=gguf, mistral_names=mistral,
    )


__all__ = [
    "LLAMA_BLOCK", "LLAMA_ENDS", "LLAMA_NAMES", "QWEN_EXPERTS", "SANDWICH_NORMS", "attention", "decoder", "experts",
    "full_every", "gated_mlp", "is_sparse_layer", "layer_norm", "layer_windows", "llama_names", "pre_norm",
    "qwen_windows", "rms_norm", "rope", "sliding_window",
]
