"""Parts of a `DecoderSpec` in a few words each, for the tables of `weft models` and `weft inspect`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from weft.architectures.spec import (
    Alibi,
    BlockSpec,
    DecoderSpec,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    MixerSpec,
    MLASpec,
    MLPSpec,
    MoESpec,
    NormSpec,
    RMSNorm,
    Rope,
    StateSpec,
    YarnScaling,
)

_SCALINGS = {LinearScaling: "linear", DynamicScaling: "dynamic", Llama3Scaling: "llama3", YarnScaling: "yarn",
             LongRopeScaling: "longrope"}


def patterns(blocks: Sequence[BlockSpec]) -> list[tuple[str, BlockSpec]]:
    """Each kind of block with the layers that are of it: `0-4 6-10`, or `0 2 … 24` for a regular step."""
    layers: dict[int, list[int]] = {}
    kinds: list[BlockSpec] = []
    for i, block in enumerate(blocks):
        if block not in kinds:
            kinds.append(block)
        layers.setdefault(kinds.index(block), []).append(i)
    return [(layer_words(layers[k]), kind) for k, kind in enumerate(kinds)]


def layer_words(layers: Sequence[int]) -> str:
    """Layer numbers, runs and regular steps written short."""
    steps = {b - a for a, b in itertools.pairwise(layers)}
    if len(layers) > 3 and len(steps) == 1 and steps != {1}:
        return f"{layers[0]} {layers[1]} … {layers[-1]}"
    words, start = [], 0
    for i in range(1, len(layers) + 1):
        if i == len(layers) or layers[i] != layers[i - 1] + 1:
            words.append(f"{layers[start]}" if i - start == 1 else f"{layers[start]}-{layers[i - 1]}")
            start = i
    return " ".join(words)


def positions(spec: DecoderSpec) -> str:
    """How tokens know where they are."""
    kinds = _distinct(_positions(block.mixer.positions) for block in spec.blocks)
    if spec.embedding.positions is not None:
        kinds = ["learned", *(kind for kind in kinds if kind != "none")]
    return ", ".join(kinds)


def attention(mixer: MixerSpec) -> str:
    """`16 heads, 8 kv heads of 128, window 4096, q/k norm`; `16 heads of 192 (values 128) from a latent 512`."""
    if isinstance(mixer, StateSpec):
        return mixer.describe()
    words = [f"{mixer.num_heads} heads"]
    if isinstance(mixer, MLASpec):
        words[-1] += f" of {mixer.key_dim} (values {mixer.value_dim}) from a latent {mixer.kv_rank}"
        return ", ".join(words + [f"q from a latent {mixer.q_rank}"] * (mixer.q_rank is not None)
                         + attention_features(mixer))
    if mixer.num_kv_heads != mixer.num_heads:
        words.append(f"{mixer.num_kv_heads} kv heads")
    words[-1] += f" of {mixer.head_dim}"
    return ", ".join(words + attention_features(mixer))


def attention_features(mixer: MixerSpec) -> list[str]:
    """What an attention has besides heads: window, norms, caps, biases. A state space says all by itself."""
    if isinstance(mixer, StateSpec):
        return []
    if isinstance(mixer, MLASpec):
        return ["bias"] * mixer.bias
    words = []
    if mixer.window is not None:
        words.append(f"window {mixer.window}")
    if mixer.qk_norm is not None:
        words.append("q/k norm" if mixer.qk_norm.scope == "head" else
                     f"q/k norm ({mixer.qk_norm.scope.replace('_', ' ')})")
    if mixer.softcap is not None:
        words.append(f"soft cap {mixer.softcap:g}")
    if mixer.clip is not None:
        words.append(f"clip {mixer.clip:g}")
    if mixer.qkv_bias or mixer.out_bias:
        words.append("bias" if mixer.out_bias and mixer.qkv_bias else "qkv bias" if mixer.qkv_bias else "out bias")
    return words


def ffn(part: MLPSpec | MoESpec | None, *, sizes: bool = True) -> str:
    """`gated silu 3072`, or `8 of 128 experts, gated silu 768`; `-` where a block has none."""
    if part is None:
        return "-"
    if isinstance(part, MLPSpec):
        words = [*["gated"] * part.gated, part.act, *[str(part.intermediate_size)] * sizes]
        return " ".join(words) + (", bias" if part.bias else "")
    words = [f"{part.num_experts_per_token} of {part.num_experts} experts" if sizes else "experts"]
    if part.num_groups > 1:
        words[0] += f" in {part.groups_per_token} of {part.num_groups} groups" if sizes else " in groups"
    words += [*["sigmoid scores"] * (part.scores == "sigmoid"), *["a bias for choosing"] * part.choice_bias,
              ffn(part.expert, sizes=sizes)]
    if part.shared is not None:
        words.append("shared " + ffn(part.shared, sizes=sizes) + (" (gated)" if part.shared_gate else ""))
    return ", ".join(words)


def norm(part: NormSpec | None) -> str:
    """`RMS 1e-06`."""
    if part is None:
        return "-"
    if isinstance(part, RMSNorm):
        return f"RMS {part.eps:g}" + (f", weight + {part.offset:g}" if part.offset else "")
    left_out = [word for word, has in (("weight", part.has_weight), ("bias", part.has_bias)) if not has]
    return f"Layer {part.eps:g}" + (f", no {' and no '.join(left_out)}" if left_out else "")


def norm_places(block: BlockSpec) -> str:
    """Which kind of norm stands where around mixer and feed-forward part."""
    kinds = _distinct(type(part).__name__ for part in (
        block.mixer_norm, block.ffn_norm, block.mixer_post_norm, block.ffn_post_norm) if part is not None)
    before = block.mixer_norm is not None and not block.post_residual
    after = block.mixer_post_norm is not None or block.post_residual
    place = "before and after" if before and after else "after" if after else "before"
    return f"{' and '.join(kinds)} {place}" if kinds else "none"


def block_norms(block: BlockSpec) -> str:
    """The norms of one block by place."""
    places = (("mixer", block.mixer_norm), ("after it", block.mixer_post_norm), ("ffn", block.ffn_norm),
              ("after it", block.ffn_post_norm))
    kinds = _distinct(norm(part) for _, part in places if part is not None)
    if len(kinds) == 1:
        return f"{kinds[0]}; {norm_places(block).partition(' ')[2]}" + (
            ", shared" if block.ffn is not None and block.ffn_norm is None else "")
    return "; ".join(f"{place} {norm(part)}" for place, part in places if part is not None) or "-"


def extras(spec: DecoderSpec) -> list[str]:
    """What else makes the whole model different from the plainest decoder."""
    words = []
    if any(block.parallel for block in spec.blocks):
        words.append("parallel blocks")
    if any(block.residual_scale != 1.0 for block in spec.blocks):
        words.append("scaled residuals")
    if spec.embedding.scale != 1.0:
        words.append("scaled embeddings")
    if spec.embedding.norm is not None:
        words.append("embedding norm")
    if spec.embedding.embedding_dim is not None:
        words.append(f"embeddings of {spec.embedding.embedding_dim}")
    if spec.head.scale != 1.0:
        words.append("scaled logits")
    if spec.head.softcap is not None:
        words.append(f"logits soft cap {spec.head.softcap:g}")
    if spec.head.bias:
        words.append("head bias")
    if spec.head.tied:
        words.append("tied head")
    return words


def _positions(part: Rope | Alibi | None) -> str:
    if part is None:
        return "none"
    if isinstance(part, Alibi):
        return "ALiBi"
    scaling = f" {_SCALINGS[type(part.scaling)]}" if part.scaling is not None else ""
    return f"rope{' interleaved' if part.interleaved else ''}{scaling}"


def rope_words(part: Rope | Alibi | None) -> str:
    """Positions of one attention, with sizes."""
    if not isinstance(part, Rope):
        return _positions(part)
    factor = getattr(part.scaling, "factor", None)
    return f"{_positions(part)}{f' × {factor:g}' if factor else ''}, base {part.theta:g}, {part.rotary_dim} dims"


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
