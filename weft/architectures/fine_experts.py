"""Many small experts as DeepSeek has them, and the families after it: shared ones beside, chosen within groups."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.names import Rule, Stacked
from weft.architectures.parts import QWEN_EXPERTS, experts, gated_mlp
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import MLPSpec, MoESpec

SHARED_EXPERTS = {f"model.layers.{{i}}.mlp.shared_experts.{name}_proj": f"blocks.{{i}}.ffn.shared.{name}"
                  for name in ("gate", "up", "down")}
FINE_EXPERTS = QWEN_EXPERTS | SHARED_EXPERTS | {
    "model.layers.{i}.mlp.gate.e_score_correction_bias": "blocks.{i}.ffn.choice.bias"}


def fine_experts(c: ConfigReader, *, renormalize: bool, scale: float, group_best: int | None) -> MoESpec:
    """The experts. renormalize, scale: the family's defaults. group_best: as in MoESpec; None: no groups."""
    expert = gated_mlp(c, size="moe_intermediate_size")
    count = c.count("n_shared_experts", "num_shared_experts", default=None) or 0
    shared = replace(expert, intermediate_size=count * expert.intermediate_size,
                     bias=c.bool("mlp_bias", default=False)) if count > 0 else None
    moe = replace(
        experts(c, expert=expert, renormalize=c.bool("norm_topk_prob", default=renormalize), per_token=8,
                shared=shared),
        scale=c.positive_float("routed_scaling_factor", default=scale))
    return moe if group_best is None else grouped(c, moe, group_best)


def grouped(c: ConfigReader, moe: MoESpec, group_best: int, *, groups: int = 8, used: int = 4) -> MoESpec:
    """The experts in the config's groups. groups, used: the family's defaults. group_best: as in MoESpec."""
    groups, used = c.positive("n_group", default=groups), c.positive("topk_group", default=used)
    size, rest = divmod(moe.num_experts, groups)
    if rest or size < group_best:
        raise c.error("n_group", groups, f"a divisor of n_routed_experts = {moe.num_experts} that leaves at least "
                                         f"{group_best} in a group")
    if used > groups or used * size < moe.num_experts_per_token:
        raise c.error("topk_group", used, f"at most n_group = {groups}, and enough groups of {size} for "
                                          f"num_experts_per_tok = {moe.num_experts_per_token}")
    return replace(moe, num_groups=groups, groups_per_token=used, group_best=group_best)


def sigmoid_experts(c: ConfigReader, *, renormalize: bool = True, scale: float = 1.0, groups: int = 1,
                    used: int = 1) -> MoESpec:
    """Experts with sigmoid scores and a bias for choosing, in groups that count by their two best (DeepSeek-V3).

    renormalize, scale, groups, used: the family's defaults.
    """
    c.expect("scoring_func", "sigmoid")
    c.expect("topk_method", "noaux_tc")
    moe = fine_experts(c, renormalize=renormalize, scale=scale, group_best=None)
    return replace(grouped(c, moe, 2, groups=groups, used=used), scores="sigmoid", choice_bias=True)


def dense_first(c: ConfigReader, dense: MLPSpec, sparse: MoESpec, *, first: int, key: str = "first_k_dense_replace",
                ) -> list[MLPSpec | MoESpec]:
    """The feed-forward part of each layer, [L]: experts from a layer on. first: the family's default for `key`.

    `mlp_layer_types`, a list of dense and sparse, decides where it is given.
    """
    layers, types = keys.num_layers(c), c.list("mlp_layer_types", default=None)
    start = c.count(key, default=first)
    if types is None:
        return [dense if layer < start else sparse for layer in range(layers)]
    if len(types) != layers:
        raise c.error("mlp_layer_types", types, f"a list of num_hidden_layers = {layers} entries")
    for entry in types:
        if entry not in ("dense", "sparse"):
            raise c.error("mlp_layer_types", entry, "dense or sparse")
    return [dense if entry == "dense" else sparse for entry in types]


def stacked(moe: MoESpec, gate_up: str, down: str, *, suffix: str = ".weight", interleaved: bool = False,
            transposed: bool = False) -> dict[str, Rule]:
    """Rules for experts in two tensors, of all gates and ups and of all downs (Transformers 5). suffix: of their homes.
    interleaved, transposed: as in `Stacked`.
    """
    homes = [f"blocks.{{i}}.ffn.experts.{e}." for e in range(moe.num_experts)]
    both = tuple(f"{home}{part}{suffix}" for home in homes for part in ("gate", "up"))
    downs = tuple(f"{home}down{suffix}" for home in homes)
    return {gate_up: Rule(gate_up, both, Stacked(halves=True, interleaved=interleaved, transposed=transposed)),
            down: Rule(down, downs, Stacked(transposed=transposed))}


def mtp_layers(c: ConfigReader) -> tuple[str, ...]:
    """Prefixes of the layers after the last one (multi-token prediction, for drafts), which are not loaded."""
    layers, more = keys.num_layers(c), c.count("num_nextn_predict_layers", "num_mtp_layers", default=0)
    return tuple(f"model.layers.{layer}." for layer in range(layers, layers + more))
