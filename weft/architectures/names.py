"""Rules, as data, that map a checkpoint's tensor names to a model's part names. `checkpoint/routing.py` applies them.

Part names are called "homes": the places in the model that checkpoint tensors go to. Each ends in .weight or .bias:

    embedding.tokens  embedding.positions  embedding.token_types  embedding.norm  embedding.project
    final_norm  head  head.project  head.transform  head.transform_norm
    relative  relative.norm                                                       (one table for all blocks)
    blocks.{i}.mixer_norm  .mixer_post_norm  .ffn_norm  .ffn_post_norm
    blocks.{i}.mixer.q  .k  .v  .o  .q_norm  .k_norm  .out_norm  .gate  .sinks
    blocks.{i}.cross_norm  .cross_post_norm  .cross.q  .cross.k  .cross.v  .cross.o                 (over an encoder)
    blocks.{i}.mixer.relative  .distance_k  .distance_q                           (positions by distance)
    blocks.{i}.mixer.q  .q_a  .q_a_norm  .q_b  .kv_a  .kv_a_norm  .k_b  .v_b  .o  (MLA)
    blocks.{i}.mixer.in  .conv  .dt_b_c  .dt  .a_log  .d  .o                      (Mamba; a_log and d end so)
    blocks.{i}.mixer.in  .conv  .dt  .a_log  .d  .norm  .o                        (Mamba 2)
    blocks.{i}.mixer.dt_norm  .b_norm  .c_norm                                    (Mamba, norms of steps)
    blocks.{i}.mixer.b  .x  .c  .conv  .o                                         (short convolution)
    blocks.{i}.mixer.q  .k  .v  .conv.q  .conv.k  .conv.v  .a_a  .a  .b  .dt      (gated delta rule)
    blocks.{i}.mixer.z_a  .z  .a_log  .norm  .o                                   (gated delta rule)
    blocks.{i}.mixer.attention.q …  blocks.{i}.mixer.state.in …                   (two mixers side by side)
    blocks.{i}.ffn.gate  .up  .down  .inner_norm                                  (MLP)
    blocks.{i}.ffn.act.alpha_p  .alpha_n  .beta  .eps                             (MLP with xIELU; they end so)
    blocks.{i}.ffn.router  .choice  .experts.{e}.gate  .up  .down                 (MoE)
    blocks.{i}.ffn.shared.gate  .shared.up  .shared.down  .shared_gate            (MoE)

The encoder beside a decoder has the same homes behind `encoder.`.

A rule's source and targets are stems, without the suffix (.weight, .bias), which is carried over. {i} is a layer, {e}
an expert, {row} a row of a home that is stored row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.architectures.part import Part, part


@part
class Plain(Part):
    """One tensor to one home; or its rows divided over several targets, one target after another.

    transposed: a matrix is stored [in, out] (GPT-2's Conv1D) and transposed first. Vectors stay unchanged.
    """

    transposed: bool = False


@part
class GroupedQKV(Part):
    """Fused qkv rows ordered [group, q … q k v, D]: a group has `queries_per_group` q heads, one k and one v head.

    GPT-NeoX and Bloom: one group for each head, with one q head. Falcon's new layout: one group for each KV head.
    The targets are q, k, v. num_groups, queries_per_group, head_dim: as said.
    """

    num_groups: int
    queries_per_group: int
    head_dim: int


@part
class HeadRows(Part):
    """Fused rows ordered by head: in each head, sizes[0] rows for the first target, then sizes[1] for the next …
    (DeepSeek's kv_b).

    num_heads: of the fused rows. sizes: rows of one head for each target.
    """

    num_heads: int
    sizes: tuple[int, ...]


@part
class HeadMatrices(Part):
    """One matrix for each head, stored [H, rows, columns]; the model has [H * rows, columns] (GGUF's DeepSeek).

    transposed: stored [H, columns, rows].
    """

    transposed: bool = False


@part
class PairedRows(Part):
    """Rows of each head are ordered for rope on neighbouring pairs; the model rotates halves (GGUF's Llama, Mistral).

    num_heads: of the rows. In a head of size D, stored row 2 * j + p is the model's row p * D / 2 + j.
    """

    num_heads: int


@part
class Stacked(Part):
    """One target for each entry of the first dimension (experts).

    halves: an entry has the rows of two targets, one after another (an expert's gate and up). interleaved: their rows
    take turns instead. transposed: the matrices are stored [in, out] (gpt-oss, Llama 4). flat: entries lie one below
    another in one matrix (DBRX).
    """

    halves: bool = False
    interleaved: bool = False
    transposed: bool = False
    flat: bool = False


@part
class PaddedHeads(Part):
    """Heads that the model has with more values, the last ones zero (MiMo V2, whose heads of v are shorter).

    num_heads: as said. size, padded: values of a head in the checkpoint and in the model. factor: on all values.
    columns: heads are a matrix's columns (the product out), else its rows.
    """

    num_heads: int
    size: int
    padded: int
    factor: float = 1.0
    columns: bool = False


@part
class Shifted(Part):
    """The tensor is stored with `by` added (GGUF's Gemma norms).

    by: what was added.
    """

    by: float


@part
class Scaled(Part):
    """Rows that the model multiplies by fixed factors, which loading does once (Falcon-H1).

    factors: of each run of rows. sizes: rows of each run; () for one run of all rows. bias_factors: of the rows of a
    bias; (): the same.
    """

    factors: tuple[float, ...]
    sizes: tuple[int, ...] = ()
    bias_factors: tuple[float, ...] = ()


@part
class VectorAsRow(Part):
    """A vector stored as a matrix of one row (ERNIE 4.5)."""


@part
class SingleRow(Part):
    """A matrix of one row, stored as a vector (GGUF drops dimensions of 1)."""


@part
class ChannelKernels(Part):
    """Kernels of a depthwise convolution, stored [C, 1, K]; the model has [C, K]. Several targets share the channels,
    one after another.
    """


@part
class NegatedExp(Part):
    """The file stores -exp(x) where the model has x (the decays of Mamba in GGUF).

    is_vector: the model's tensor is a vector, stored with more dimensions.
    """

    is_vector: bool = False


@part
class Flattened(Part):
    """A vector stored with more dimensions (GGUF's norms over groups of channels)."""


_AS_IT_IS = Plain()

Layout = (Plain | GroupedQKV | HeadRows | HeadMatrices | PairedRows | PaddedHeads | Stacked | Shifted | Scaled
          | SingleRow | VectorAsRow | ChannelKernels | NegatedExp | Flattened)


@dataclass(frozen=True, slots=True)
class Rule:
    """source: a tensor's stem in the checkpoint. targets: the homes it fills. layout: how it is stored."""

    source: str
    targets: tuple[str, ...]
    layout: Layout = _AS_IT_IS


@part
class NameMap(Part):
    """All rules of a family.

    rules: where several have the same target, the first is of the name that today's files have.
    optional_prefix: a prefix that a checkpoint's names may lack (base-model checkpoints: `wte` for `transformer.wte`).
    ignored: stems or whole names of tensors that are not loaded (buffers such as `rotary_emb.inv_freq`); may have {i}.
    ignored_prefixes: prefixes of names that are not loaded (layers for multi-token prediction).
    by_row: homes that the checkpoint stores row by row; each is replaced by one home per row, `<home>.{row}`.
    """

    rules: tuple[Rule, ...]
    optional_prefix: str = ""
    ignored: tuple[str, ...] = ()
    ignored_prefixes: tuple[str, ...] = ()
    by_row: tuple[str, ...] = ()


def names(mapping: Mapping[str, str | tuple[str, ...] | Rule], *, optional_prefix: str = "",
          ignored: tuple[str, ...] = (), ignored_prefixes: tuple[str, ...] = (),
          by_row: tuple[str, ...] = ()) -> NameMap:
    """A NameMap from {source: target, tuple of targets, or a Rule with a layout}."""
    rules = []
    for source, target in mapping.items():
        if isinstance(target, Rule):
            rules.append(target)
        else:
            rules.append(Rule(source, (target,) if isinstance(target, str) else tuple(target)))
    return NameMap(rules=tuple(rules), optional_prefix=optional_prefix, ignored=ignored,
                   ignored_prefixes=ignored_prefixes, by_row=by_row)
