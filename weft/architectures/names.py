"""How a checkpoint's tensor names become part names: rules as data. `checkpoint/routing.py` applies them.

Part names ("homes"), each followed by .weight or .bias:

    embedding.tokens  embedding.positions  embedding.token_types  embedding.norm  embedding.project
    final_norm  head  head.project
    blocks.{i}.mixer_norm  .mixer_post_norm  .ffn_norm  .ffn_post_norm
    blocks.{i}.mixer.q  .k  .v  .o  .q_norm  .k_norm
    blocks.{i}.mixer.q  .q_a  .q_a_norm  .q_b  .kv_a  .kv_a_norm  .k_b  .v_b  .o  (MLA)
    blocks.{i}.mixer.in  .conv  .dt_b_c  .dt  .a_log  .d  .o                      (Mamba; a_log and d end so)
    blocks.{i}.mixer.in  .conv  .dt  .a_log  .d  .norm  .o                        (Mamba 2)
    blocks.{i}.ffn.gate  .up  .down                                               (MLP)
    blocks.{i}.ffn.router  .choice  .experts.{e}.gate  .up  .down                 (MoE)
    blocks.{i}.ffn.shared.gate  .shared.up  .shared.down  .shared_gate            (MoE)

A rule's source and targets are stems: the suffix (.weight, .bias) is carried over. {i} is a layer, {e} an expert,
{row} a row of a home that is stored row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """One tensor to one home; or rows (of the untransposed tensor) divided over the targets one after another.

    transposed: a matrix is stored [in, out] (GPT-2's Conv1D). A vector is taken as it is.
    """

    transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQKV:
    """Fused rows ordered [group, q … q k v, D]: `num_groups` groups, each `queries_per_group` q heads, a k and a v.

    GPT-NeoX and Bloom: a group for each head, one query in it. Falcon's new layout: a group for each KV head.
    Targets are q, k, v.
    """

    num_groups: int
    queries_per_group: int
    head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRows:
    """Fused rows ordered head by head: of each head so many for each target (DeepSeek's kv_b)."""

    num_heads: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadMatrices:
    """A matrix for each head, [H, rows, columns], which the model has one below the other (GGUF's DeepSeek).

    transposed: each is stored [columns, rows].
    """

    transposed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRows:
    """Rows of each head ordered for neighbouring rotary pairs, where the model rotates halves (GGUF's Llama, Mistral).

    Head of size D: stored row 2 j + p is the model's row p D / 2 + j.
    """

    num_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacked:
    """A target for each entry of the first dimension (GGUF's experts)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted:
    """The tensor is stored with `by` added (GGUF's Gemma norms)."""

    by: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRow:
    """A matrix of one row, stored as a vector (GGUF drops dimensions of 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKernels:
    """The kernels of a convolution of each channel by itself, stored [C, 1, K], which the model has as [C, K]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NegatedExp:
    """-exp(x) is stored of the numbers x that the model has (GGUF's decays of Mamba).

    is_vector: the numbers are a vector, stored with more dimensions.
    """

    is_vector: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flattened:
    """A vector, stored with more dimensions (GGUF's norms by groups of channels)."""


Layout = (Plain | GroupedQKV | HeadRows | HeadMatrices | PairedRows | Stacked | Shifted | SingleRow | ChannelKernels
          | NegatedExp | Flattened)


@dataclass(frozen=True, slots=True)
class Rule:
    """A tensor's stem in the checkpoint, the homes it fills, and how its rows are laid out."""

    source: str
    targets: tuple[str, ...]
    layout: Layout = Plain()


@dataclass(frozen=True, slots=True, kw_only=True)
class NameMap:
    """All rules of a family.

    optional_prefix: may be absent from the checkpoint's names (base-model checkpoints: `wte` for `transformer.wte`).
    ignored: stems or whole names that hold nothing to load (buffers such as `rotary_emb.inv_freq`); {i} allowed.
    ignored_prefixes: beginnings of the names of tensors that nothing is made of (layers that predict further tokens).
    by_row: homes that the checkpoint stores row by row; they give way to a home for each row, `<home>.{row}`.
    """

    rules: tuple[Rule, ...]
    optional_prefix: str = ""
    ignored: tuple[str, ...] = ()
    ignored_prefixes: tuple[str, ...] = ()
    by_row: tuple[str, ...] = ()


def names(mapping: Mapping[str, str | tuple[str, ...] | Rule], *, optional_prefix: str = "",
          ignored: tuple[str, ...] = (), ignored_prefixes: tuple[str, ...] = (),
          by_row: tuple[str, ...] = ()) -> NameMap:
    """A NameMap from {source: target | targets | Rule with its own layout}."""
    rules = []
    for source, target in mapping.items():
        if isinstance(target, Rule):
            rules.append(target)
        else:
            rules.append(Rule(source, (target,) if isinstance(target, str) else tuple(target)))
    return NameMap(rules=tuple(rules), optional_prefix=optional_prefix, ignored=ignored,
                   ignored_prefixes=ignored_prefixes, by_row=by_row)
