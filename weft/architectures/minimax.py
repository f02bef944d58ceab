"""MiniMax-Text-01: lightning attention and softmax attention, experts, and norms after each sum."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.hybrid import ATTENTION, STATE, layer_kinds
from weft.architectures.names import HeadRows, NameMap, Rule, Scaled
from weft.architectures.parts import attention, decoder, experts, gated_mlp, llama_names, rms_norm, rope, sliding_window
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EmbeddingSpec, LightningSpec

_MIXER, _SOURCE = "blocks.{i}.mixer.", "model.layers.{i}.self_attn."


@architecture("MiniMaxForCausalLM")
def minimax(c: ConfigReader) -> DecoderSpec:
    """MiniMax-Text-01. Source: arXiv:2501.08313 and config.json of MiniMaxAI/MiniMax-Text-01-hf.

    A part's sum is alpha * h + beta * part(h). Here it is h + (beta / alpha) * part(h): the norm that follows takes
    alpha out again, with an epsilon that is divided by its square; beta / alpha multiplies the part's last matrix.
    """
    norm, layers = rms_norm(c, eps=1e-5), keys.num_layers(c)
    kinds = layer_kinds(c, default=[STATE if i % 2 else ATTENTION for i in range(layers)])
    mixed = {STATE: _factors(c, "linear_attn"), ATTENTION: _factors(c, "full_attn")}
    fed = _factors(c, "mlp")
    attending = attention(c, positions=rope(c, theta=1e6), window=sliding_window(c))
    moe = experts(c, expert=gated_mlp(c), renormalize=True, per_token=2)
    c.harmless("router_jitter_noise", "block_size")
    after = {kind: replace(norm, eps=norm.eps / alpha ** 2) for kind, (alpha, _) in mixed.items()}
    last = replace(norm, eps=norm.eps / fed[0] ** 2)
    blocks = [BlockSpec(mixer=attending if kind == ATTENTION else _lightning(c, layer), ffn=moe, post_residual=True,
                        mixer_norm=after[kind], ffn_norm=last) for layer, kind in enumerate(kinds)]
    return decoder(c, blocks=blocks, final_norm=None,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), norm=norm),
                   names=_names(kinds, attending.num_heads, attending.head_dim, fed=fed[1],
                                lightning=mixed[STATE][1], attending=mixed[ATTENTION][1]))


def _factors(c: ConfigReader, name: str) -> tuple[float, float]:
    """(alpha, beta / alpha) of a part's sum."""
    alpha = c.positive_float(f"{name}_alpha_factor", default=1.0)
    return alpha, c.float(f"{name}_beta_factor", default=1.0) / alpha


def _lightning(c: ConfigReader, layer: int) -> LightningSpec:
    heads = keys.num_heads(c)
    falling = 1 - layer / (keys.num_layers(c) - 1 + 1e-5) + 1e-5
    return LightningSpec(num_heads=heads, head_dim=keys.head_dim(c), act=keys.activation(c), norm_eps=1e-6,
                         slopes=tuple(2 ** (-8 * (head + 1) / heads) * falling for head in range(heads)))


def _names(kinds: list[str], heads: int, size: int, *, fed: float, lightning: float, attending: float) -> NameMap:
    """A norm after a sum is the next part's first norm in the checkpoint. fed, lightning, attending: beta / alpha."""
    layers = len(kinds)
    norms = {"model.layers.0.input_layernorm": "embedding.norm", "model.norm": f"blocks.{layers - 1}.ffn_norm"}
    norms |= {f"model.layers.{i + 1}.input_layernorm": f"blocks.{i}.ffn_norm" for i in range(layers - 1)}
    rules: dict[str, str | Rule] = {
        "model.layers.{i}.post_attention_layernorm": "blocks.{i}.mixer_norm",
        _SOURCE + "norm": _MIXER + "norm", _SOURCE + "output_gate": _MIXER + "z",
        _SOURCE + "out_proj": Rule(_SOURCE + "out_proj", (_MIXER + "o",), Scaled(factors=(lightning,))),
        _SOURCE + "o_proj": Rule(_SOURCE + "o_proj", (_MIXER + "o",), Scaled(factors=(attending,)))}
    for i in (i for i, kind in enumerate(kinds) if kind == STATE):
        source = f"model.layers.{i}.self_attn.qkv_proj"
        rules[source] = Rule(source, tuple(f"blocks.{i}.mixer.{part}" for part in ("q", "k", "v")),
                             HeadRows(num_heads=heads, sizes=(size, size, size)))
    moe, home = "model.layers.{i}.block_sparse_moe.", "blocks.{i}.ffn.experts.{e}."
    down = moe + "experts.{e}.w2"
    return llama_names(norms | rules | {
        moe + "gate": "blocks.{i}.ffn.router",
        moe + "experts.{e}.w1": home + "gate", moe + "experts.{e}.w3": home + "up",
        down: Rule(down, (home + "down",), Scaled(factors=(fed,)))},
        ignored=tuple(_SOURCE + name for name in ("slope_rate", "query_decay", "key_decay", "diagonal_decay")))
