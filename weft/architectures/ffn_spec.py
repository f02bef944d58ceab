"""The feed-forward parts that a description may name. `layers/mlp.py` runs them."""

from __future__ import annotations

from weft.architectures.part import Part, part


@part
class MLPSpec(Part):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) when gated. `act` is a name of `ops/activation`."""

    intermediate_size: int
    act: str
    gated: bool
    bias: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`gated silu 3072`."""
        words = [*["gated"] * self.gated, self.act, *[str(self.intermediate_size)] * sizes]
        return " ".join(words) + (", bias" if self.bias else "")


@part
class MoESpec(Part):
    """Mixture of experts: a router picks `num_experts_per_token` of `num_experts` for each token.

    Weights: `scores` of the experts ("softmax" over all, or a "sigmoid" of each), of these the top ones, renormalised
    to sum 1 when `renormalize`, times `scale`.
    choice_bias: a trained number is added to each expert's score for choosing, not for weighing (DeepSeek-V3).
    num_groups: equal groups of experts, of which a token may use the `groups_per_token` best; a group is as good as
    the sum of its `group_best` largest scores (DeepSeek-V2: 1, V3: 2).
    shared: an MLP that every token passes, its output scaled by sigmoid(shared_gate(x)) when `shared_gate`.
    Source: arXiv:2401.04088 (Mixtral); groups: arXiv:2405.04434, arXiv:2412.19437.
    """

    num_experts: int
    num_experts_per_token: int
    expert: MLPSpec
    renormalize: bool = True
    scores: str = "softmax"
    scale: float = 1.0
    choice_bias: bool = False
    num_groups: int = 1
    groups_per_token: int = 1
    group_best: int = 1
    shared: MLPSpec | None = None
    shared_gate: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`8 of 128 experts, gated silu 768`."""
        words = [f"{self.num_experts_per_token} of {self.num_experts} experts" if sizes else "experts"]
        if self.num_groups > 1:
            words[0] += f" in {self.groups_per_token} of {self.num_groups} groups" if sizes else " in groups"
        words += [*["sigmoid scores"] * (self.scores == "sigmoid"), *["a bias for choosing"] * self.choice_bias,
                  self.expert.describe(sizes=sizes)]
        if self.shared is not None:
            words.append(f"shared {self.shared.describe(sizes=sizes)}{' (gated)' if self.shared_gate else ''}")
        return ", ".join(words)
