"""The feed-forward parts of a model description: MLP and mixture of experts (MoE). `layers/mlp.py` runs them."""

from __future__ import annotations

from typing import Literal

from weft.architectures.part import Part, part
from weft.architectures.part_kinds import FfnSpec, NormSpec

# Names of `ops/activation`.
Activation = Literal["gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "sigmoid",
                     "silu", "swish", "tanh"]


@part
class ClampedGLU(Part):
    """gate * sigmoid(alpha * gate) * (up + up_offset), with gate at most `limit` and up from -limit to limit.

    alpha, limit, up_offset: as said. Source: gpt-oss (arXiv:2508.10925).
    """

    limit: float
    alpha: float = 1.0
    up_offset: float = 0.0


@part
class XIELU(Part):
    """The trained activation xIELU: a x^2 + beta x for x > 0, else b (exp(min(x, eps)) - 1 - x) + beta x, where a is
    softplus(alpha_p) and b is beta + softplus(alpha_n). The checkpoint has all four numbers for each layer.
    Source: arXiv:2411.13010.
    """


@part
class MLPSpec(FfnSpec):
    """down(act(up(x))), or down(act(gate(x)) * up(x)) if gated.

    intermediate_size: F. act: a name of `ops/activation`, or a part with numbers of its own. gated: whether there is a
    gate. bias: of all products. down_bias: of the last product alone, where the others have none (GTE). inner_norm:
    before the product down (BitNet).
    """

    intermediate_size: int
    act: Activation | ClampedGLU | XIELU
    gated: bool
    bias: bool = False
    down_bias: bool = False
    inner_norm: NormSpec | None = None

    def describe(self, *, sizes: bool = True) -> str:
        """`gated silu 3072`."""
        act = self.act if isinstance(self.act, str) else type(self.act).__name__
        words = [*["gated"] * self.gated, act, *[str(self.intermediate_size)] * sizes]
        bias = ", bias" if self.bias else ", bias after" if self.down_bias else ""
        return " ".join(words) + bias + (", inner norm" if self.inner_norm is not None else "")


@part
class MoESpec(FfnSpec):
    """Mixture of experts: a router picks `num_experts_per_token` of `num_experts` for each token.

    An expert's score is the router's logit after `scores` ("softmax" over all experts, or "sigmoid" of each). The
    experts with the top scores are picked; their weights are the scores, renormalised to sum 1 if `renormalize`, times
    `scale`. With scores "sparsemixer", a token takes two experts, each with its softmax over the logits that are not
    farther below it than 2 * `jitter` of the larger magnitude (Phi-3.5 MoE, arXiv:2409.12136).
    num_experts: X. num_experts_per_token: K. expert: one of them; all are alike. renormalize, scores, scale: as said.
    choice_bias: a trained bias per expert is added to the scores for picking, but not to the weights (DeepSeek-V3).
    num_groups: experts form equal groups. groups_per_token: a token uses experts of so many groups, its best.
    group_best: a group's score is the sum of so many of its largest expert scores (DeepSeek-V2: 1, V3: 2).
    shared: an MLP that every token passes. shared_gate: its output is scaled by sigmoid(shared_gate(x)).
    chooses_by: what a choice_bias is added to, the scores or the router's logits (Kolibri). router_softcap: logits
    become cap * tanh(logits / cap) first (Laguna). router_bias: the router's product has a bias (gpt-oss).
    scales_input: an expert's weight multiplies its input, not its output (Llama 4). bias: a trained vector is added to
    the sum of a token's experts (Nomic).
    Source: arXiv:2401.04088 (Mixtral); groups: arXiv:2405.04434, arXiv:2412.19437.
    """

    num_experts: int
    num_experts_per_token: int
    expert: MLPSpec
    renormalize: bool = True
    scores: Literal["softmax", "sigmoid", "sparsemixer"] = "softmax"
    jitter: float = 0.0
    scale: float = 1.0
    choice_bias: bool = False
    num_groups: int = 1
    groups_per_token: int = 1
    group_best: int = 1
    shared: MLPSpec | None = None
    shared_gate: bool = False
    chooses_by: Literal["scores", "logits"] = "scores"
    router_softcap: float | None = None
    router_bias: bool = False
    scales_input: bool = False
    bias: bool = False

    def describe(self, *, sizes: bool = True) -> str:
        """`8 of 128 experts, gated silu 768`."""
        words = [f"{self.num_experts_per_token} of {self.num_experts} experts" if sizes else "experts"]
        if self.num_groups > 1:
            words[0] += f" in {self.groups_per_token} of {self.num_groups} groups" if sizes else " in groups"
        words += [*[f"{self.scores} scores"] * (self.scores != "softmax"), *["a bias for choosing"] * self.choice_bias,
                  *["weighted inputs"] * self.scales_input, self.expert.describe(sizes=sizes),
                  *["bias after"] * self.bias]
        if self.shared is not None:
            words.append(f"shared {self.shared.describe(sizes=sizes)}{' (gated)' if self.shared_gate else ''}")
        return ", ".join(words)
