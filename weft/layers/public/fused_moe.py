"""`FusedMoE`: the experts of a mixture as one layer, which foreign models give a token's router logits.

Several processes (the tensor group of weft.parallel when the layer is made) each have a part of every expert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.layer import Home, StepLimits
from weft.layers.linear import linear_case
from weft.layers.mlp import experts_with_codes
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes
from weft.layers.public.options import check_unknown
from weft.layers.shard import Shard
from weft.ops.linear import product_bytes
from weft.ops.moe import Biases, MoECase, Routed, Routing, choose_moe
from weft.ops.quantized import QuantizedWeight
from weft.parallel import get_tp_group

_SCORES = ("softmax", "sigmoid")
_PARTS = {"w1": "gate", "w2": "down", "w3": "up"}             # shard ids of weight_loader, and the parts of an expert


class FusedMoE(PublicLayer):
    """The weighted sum of each token's best experts, down(act(gate(x)) * up(x)). Arguments as vLLM's class.

    w13_weight [X, 2F, E] (gate rows first), w2_weight [X, E, F], with `has_bias` w13_bias, w2_bias; F of this process.
    reduce_results: sum the results of the processes; else `maybe_all_reduce_tensor_model_parallel` does.
    custom_routing_function(hidden_states=, gating_output=, topk=, renormalize=) -> (weights, expert ids), both [T, K].
    """

    may_finish_early = True

    def __init__(self, num_experts: int, top_k: int, hidden_size: int, intermediate_size: int,
                 params_dtype: torch.dtype | None = None, reduce_results: bool = False, renormalize: bool = True,
                 use_grouped_topk: bool = False, num_expert_group: int | None = None, topk_group: int | None = None,
                 quant_config: Any = None, tp_size: int | None = None, prefix: str = "",
                 custom_routing_function: Callable[..., Any] | None = None, scoring_func: str = "softmax",
                 routed_scaling_factor: float = 1.0, e_score_correction_bias: Tensor | None = None,
                 apply_router_weight_on_input: bool = False, activation: str = "silu", has_bias: bool = False,
                 is_act_and_mul: bool = True, **unknown: Any) -> None:
        super().__init__(quant_config, prefix)
        check_unknown(type(self).__name__, unknown)
        check_sizes(self, num_experts=num_experts, top_k=top_k, hidden_size=hidden_size,
                    intermediate_size=intermediate_size)
        self.group = get_tp_group()
        self._check_options(num_experts, top_k, use_grouped_topk, num_expert_group, topk_group, scoring_func, tp_size,
                            apply_router_weight_on_input, is_act_and_mul)
        self.params_dtype = params_dtype or self.params_dtype
        self.tp_size, self.tp_rank = self.group.world_size, self.group.rank_in_group
        self.num_experts = self.global_num_experts = self.local_num_experts = num_experts
        self.top_k, self.hidden_size, self.intermediate_size = top_k, hidden_size, intermediate_size
        self.columns = Shard(self.tp_rank, self.tp_size).span("FusedMoE.intermediate_size", intermediate_size)
        size = self.intermediate_size_per_partition = len(self.columns)
        self.activation, self.renormalize, self.scoring_func = activation, renormalize, scoring_func
        self.num_groups = num_expert_group or 1 if use_grouped_topk else 1
        self.topk_group = topk_group or 1 if use_grouped_topk else 1
        self.reduce_results, self.custom_routing_function = reduce_results, custom_routing_function
        self.routed_scaling_factor, self.apply_router_weight_on_input = (
            routed_scaling_factor, apply_router_weight_on_input)
        self._correction = (e_score_correction_bias,)         # in a tuple: the parameter is the router's
        self.w13_weight = self.new_parameter(num_experts, 2 * size, hidden_size)
        self.w2_weight = self.new_parameter(num_experts, hidden_size, size)
        self.w13_bias = self.new_parameter(num_experts, 2 * size) if has_bias else None
        self.w2_bias = self.new_parameter(num_experts, hidden_size) if has_bias else None
        self.experts: Any = None                              # the kernel's mixture, made of the loaded matrices
        self.codes: dict[str, QuantizedWeight] = {}           # homes that were loaded as codes (quantized values)

    def _check_options(self, num_experts: int, top_k: int, grouped: bool, groups: int | None, topk_group: int | None,
                       scoring_func: str, tp_size: int | None, weight_on_input: bool, is_gated: bool) -> None:
        """ConfigError for options that contradict each other, NotBuiltError for one that has no code."""
        if top_k > num_experts:
            raise ConfigError("FusedMoE.top_k", top_k, expected=f"at most num_experts, {num_experts}")
        if scoring_func not in _SCORES:
            raise ConfigError("FusedMoE.scoring_func", scoring_func, expected=" or ".join(_SCORES))
        if grouped and (not groups or not topk_group or num_experts % groups or topk_group > groups):
            raise ConfigError("FusedMoE.num_expert_group", groups,
                              expected=f"a divisor of {num_experts} experts, and topk_group of the groups",
                              hint=f"topk_group is {topk_group}.")
        if tp_size not in (None, self.group.world_size):
            raise ConfigError("FusedMoE.tp_size", tp_size, expected=f"None or {self.group.world_size}, the number of "
                              "processes that divide each layer")
        if weight_on_input and top_k != 1:
            raise ConfigError("FusedMoE.top_k", top_k, expected="1 with apply_router_weight_on_input")
        if not is_gated:
            raise NotBuiltError("FusedMoE.is_act_and_mul", is_gated, expected="True: experts have a gate")

    # Loading

    def homes_of(self, name: str, parameter: nn.Parameter) -> dict[str, Home]:
        """As PublicLayer: each expert's gate, up and down."""
        kind, parts = name.rpartition("_")[2], ("down",) if name.startswith("w2") else ("gate", "up")
        names = (f"experts.{expert}.{part}.{kind}" for expert in range(self.num_experts) for part in parts)
        return {part: self.home(part) for part in names}

    def home(self, part: str) -> Home:
        """As PublicLayer."""
        _, expert, name, kind = part.split(".")
        parameter = self._parameters[f"{'w2' if name == 'down' else 'w13'}_{kind}"]
        assert parameter is not None, "a part belongs to a parameter"
        view, size = parameter.data[int(expert)], self.intermediate_size_per_partition
        if name == "down":
            return Home(view, self, part, None, self.columns if kind == "weight" else None)
        return Home(view[:size] if name == "gate" else view[size:], self, part, self.columns)

    def _give_loader(self, parameter: nn.Parameter) -> None:
        """As PublicLayer."""
        vars(parameter)["weight_loader"] = self.load_expert

    def load_expert(self, parameter: nn.Parameter, tensor: Tensor, weight_name: Any = None,
                    shard_id: str | None = None, expert_id: int | None = None,
                    return_success: bool = False) -> bool | None:
        """Fill a part of a parameter. weight_name: not read. shard_id: w1 (gate), w3 (up), w2 (down), or None for all
        of the parameter's; expert_id: None for all experts, which lie along the tensor's first dimension.
        """
        kind = self.name_of(parameter).rpartition("_")[2]
        is_down = parameter is self.w2_weight or parameter is self.w2_bias
        known = ("w2",) if is_down else ("w1", "w3")
        if shard_id not in (*known, None) or (expert_id is not None and not 0 <= expert_id < self.num_experts):
            raise ConfigError("FusedMoE shard", (shard_id, expert_id),
                              expected=f"{' or '.join(known)}, and an expert from 0 to {self.num_experts - 1}")
        tensors = list(tensor) if expert_id is None else [tensor]
        if expert_id is None and len(tensors) != self.num_experts:
            raise ConfigError("FusedMoE shard", list(tensor.shape),
                              expected=f"{self.num_experts} experts in the tensor, or an expert_id")
        for expert, found in enumerate(tensors, 0 if expert_id is None else expert_id):
            parts = (found,) if is_down or shard_id is not None else found.chunk(2)
            for part, rows in zip((shard_id,) if shard_id else known, parts, strict=True):
                self.fill(f"experts.{expert}.{_PARTS[part]}.{kind}", rows)
        return True if return_success else None

    @staticmethod
    def make_expert_params_mapping(*model: nn.Module, ckpt_gate_proj_name: str, ckpt_down_proj_name: str,
                                   ckpt_up_proj_name: str, num_experts: int,
                                   num_redundant_experts: int = 0) -> list[tuple[str, str, int, str]]:
        """(parameter, checkpoint's name, expert, shard id) for each matrix of each expert, to be replaced in names.

        model: given by some callers, and not needed.
        """
        check_unknown("make_expert_params_mapping", {"num_redundant_experts": num_redundant_experts})
        names = (("w1", ckpt_gate_proj_name), ("w2", ckpt_down_proj_name), ("w3", ckpt_up_proj_name))
        return [("experts.w2_" if shard == "w2" else "experts.w13_", f"experts.{expert}.{name}.", expert, shard)
                for expert in range(num_experts) for shard, name in names]

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer. Products of experts take floats."""
        self.codes[part] = weight.weight_only()

    # Running

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        exact, size = self.bound().weight_only(), self.intermediate_size_per_partition
        self.choice = choose_moe(MoECase(
            device=context.device, dtype=context.dtype, hidden_size=self.hidden_size, intermediate_size=size,
            act=self.activation, has_bias=self.w13_bias is not None, isa=context.isa, quantization=exact.quantization,
            activation_dtype=exact.activation_dtype, nodes=context.nodes))
        self.takes_codes = self.choice.name == "native"
        self.w13_case = linear_case(exact, self.hidden_size, 2 * size)               # of one expert's products
        self.w2_case = linear_case(exact, size, self.hidden_size)

    def finish_loading(self) -> None:
        """As Layer: the kernel packs or quantizes the experts."""
        (correction,) = self._correction
        self.routing = Routing(
            top_k=self.top_k, renormalize=self.renormalize, act=self.activation,
            scores="sigmoid" if self.scoring_func == "sigmoid" else "softmax",
            num_groups=self.num_groups, groups_per_token=self.topk_group, group_best=1 if correction is None else 2,
            choice_bias=None if correction is None else correction.detach())
        w13, w2 = (experts_with_codes(weight.data, [[self.codes.get(f"experts.{expert}.{part}.weight")
                                                     for part in parts] for expert in range(self.num_experts)])
                   for weight, parts in ((self.w13_weight, ("gate", "up")), (self.w2_weight, ("down",))))
        experts = self.experts = self.choice.prepare(w13, w2, self.routing, self._biases())
        self.codes = {}
        self.keep("w13_weight", lambda: experts.matrices("gate_up"))
        self.keep("w2_weight", lambda: experts.matrices("down"))
        super().finish_loading()

    def _biases(self) -> Biases | None:
        """What the kernel adds. Down's bias is added to the sum over processes once, by the first."""
        if self.w13_bias is None or self.w2_bias is None:
            return None
        up, down = self.w13_bias.data, self.w2_bias.data
        self.keep("w13_bias", lambda: up)
        self.keep("w2_bias", lambda: down)
        return Biases(up, down if self.columns.is_first else torch.zeros_like(down))

    def forward(self, hidden_states: Tensor, router_logits: Tensor) -> Any:
        """hidden_states [..., E], router_logits [..., X] -> [..., E], newly allocated."""
        check_input(self, "hidden_states", hidden_states, self.ready(), self.hidden_size)
        if router_logits.shape != (*hidden_states.shape[:-1], self.num_experts):
            raise ValueError(f"FusedMoE: router_logits are {list(router_logits.shape)}, expected "
                             f"{[*hidden_states.shape[:-1], self.num_experts]}")
        x, logits = hidden_states.reshape(-1, self.hidden_size), router_logits.reshape(-1, self.num_experts)
        routed = self._routed(x, logits)
        if self.apply_router_weight_on_input and isinstance(routed, Routed):
            x = (x * routed.weights).to(x.dtype)
            routed = Routed(torch.ones_like(routed.weights), routed.experts)
        out = self.experts(x, routed)
        if self.routed_scaling_factor != 1.0:
            out = out * self.routed_scaling_factor
        if self.reduce_results:
            out = self.group.all_reduce(out)
        return out.view(hidden_states.shape)

    def _routed(self, x: Tensor, logits: Tensor) -> Tensor | Routed:
        """Each token's experts, or the logits where the kernel finds them."""
        if self.custom_routing_function is not None:
            weights, experts = self.custom_routing_function(hidden_states=x, gating_output=logits, topk=self.top_k,
                                                            renormalize=self.renormalize)
            return Routed(weights.float(), experts.long())
        if logits.dtype != x.dtype or self.apply_router_weight_on_input:
            return self.routing.route(logits)
        return logits

    def maybe_all_reduce_tensor_model_parallel(self, final_hidden_states: Tensor) -> Tensor:
        """The sum over the processes of what `forward` gave without `reduce_results`."""
        return self.group.all_reduce(final_hidden_states)

    # Sizes

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        biases = sum(self.plain_bytes(bias) for bias in (self.w13_bias, self.w2_bias) if bias is not None)
        if not self.is_native:
            return biases + sum(weight.numel() * weight.element_size() for weight in (self.w13_weight, self.w2_weight))
        return biases + self.num_experts * (product_bytes(self.w13_case) + product_bytes(self.w2_case))

    def step_bytes(self, limits: StepLimits) -> int:
        """As Layer: the results of each token's experts."""
        size, element = self.intermediate_size_per_partition, self.params_dtype.itemsize
        return limits.num_tokens * self.top_k * (4 * size * element + 4 * self.hidden_size)

    def num_idle_parameters(self) -> int:
        return (self.num_experts - self.top_k) * (self.w13_weight[0].numel() + self.w2_weight[0].numel())

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.top_k * 3 * self.intermediate_size_per_partition * self.hidden_size


class SharedFusedMoE(FusedMoE):
    """A FusedMoE with experts that every token uses: a module, or None. Arguments as vLLM's class of this name."""

    def __init__(self, shared_experts: nn.Module | None, gate: nn.Module | None = None, use_overlapped: bool = True,
                 **options: Any) -> None:
        super().__init__(**options)
        self._shared = (shared_experts,)                      # in tuples: the modules are the model's
        self._gate = (gate,)

    @property
    def shared_experts(self) -> nn.Module | None:
        """The module that every token uses."""
        return self._shared[0]

    @property
    def gate(self) -> nn.Module | None:
        """The router, if the model gave it. The model itself calls it."""
        return self._gate[0]

    def forward(self, hidden_states: Tensor, router_logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """(result of the shared experts or None, result of the routed ones)."""
        shared = None if self.shared_experts is None else self.shared_experts(hidden_states)
        return shared, super().forward(hidden_states, router_logits)
