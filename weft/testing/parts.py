"""Finds the part of a described model that differs from Transformers: each block is given Transformers' own input.

A block that gives the same result is done. Of the first that does not, the parts are compared in the order in which
they run; the first that differs is named, with the parameter that the form of the difference points to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from weft.layers.layer import Layer
from weft.layers.linear import Linear
from weft.layers.mlp import MoE
from weft.layers.norm import Norm
from weft.layers.paged_attention import PagedAttention
from weft.layers.per_head import PerHead
from weft.models.decoder import Decoder, Stack
from weft.ops.activation import activation
from weft.ops.step import Step
from weft.testing.attention import attention_fault
from weft.testing.calls import Call, call_block
from weft.testing.diagnosis import difference, first_position, head_kind, linear_kind, norm_kind, ratio, worst
from weft.testing.reference import Trace
from weft.testing.report import Fault
from weft.testing.router import experts_kind, router_logits
from weft.testing.sources import Sources


class PartSearch:
    """Compares a model's parts one after another. errors: {part: relative difference}, as far as it came."""

    def __init__(self, stack: Stack, sources: Sources, reference: nn.Module, trace: Trace, step: Step,
                 tolerance: float) -> None:
        self._stack, self._sources, self._reference = stack, sources, reference
        self._trace, self._step, self._tolerance = trace, step, tolerance
        self._blocks = list(stack.each_block())
        self._num_tokens = len(step.input_ids)
        self.errors: dict[str, float] = {}

    @torch.inference_mode()
    def first_fault(self) -> Fault | None:
        """The first part that differs; None when none does, or none could be compared."""
        fault = self._embedding()
        for number in range(len(self._blocks)):
            fault = fault or self._block(number)
        return fault or self._final_norm() or self._head()

    # The two ends

    def _embedding(self) -> Fault | None:
        layer = self._sources.layer(0)
        theirs = None if layer is None else self._trace.input(layer, self._num_tokens)
        if theirs is None:
            return None
        ours = self._stack.embedding(self._step.input_ids, self._step.positions, None).clone()
        factor = ratio(ours, theirs)
        kind = "scale, table of tokens, positions or norm of the embedding" if factor is None else \
            f"scale of the embedding: results are {factor:.6g} times Transformers'"
        return self._compared(None, "embedding", ours, theirs, kind, f"the input of {layer}",
                              detail=f"scale {self._stack.spec.embedding.scale:g}")

    def _final_norm(self) -> Fault | None:
        norm, source = self._stack.final_norm, self._sources.by_home.get("final_norm")
        given = None if source is None else self._trace.input(source.module, self._num_tokens)
        theirs = None if source is None else self._trace.output(source.module, self._num_tokens)
        if norm is None or source is None or given is None or theirs is None:
            return None
        ours = norm(given.to(self._stack.dtype)).clone()
        return self._compared(None, "final_norm", ours, theirs, norm_kind(ours, theirs), source.module,
                              detail=_words(norm))

    def _head(self) -> Fault | None:
        stack = self._stack
        find = getattr(self._reference, "get_output_embeddings", None)
        module = None if find is None else find()
        name = next((name for name, found in self._reference.named_modules() if found is module), None)
        before = [self._sources.by_home.get(f"head.{part}") for part in ("project", "transform")]
        first = next((source for source in before if source is not None), None)
        name = name if first is None else first.module        # what leads to the table's width comes first
        given = None if name is None or module is None else self._trace.input(name, self._num_tokens)
        if given is None or name is None or not isinstance(stack, Decoder):
            return None
        ours, spec = stack.compute_logits(given.to(stack.dtype)).clone(), stack.head.spec
        theirs = self._trace.logits
        return self._compared(None, "head", ours, theirs, head_kind(ours, theirs), f"the logits after {name}",
                              detail=f"scale {spec.scale:g}, softcap {spec.softcap}, bias {spec.bias}")

    # Blocks

    def _block(self, number: int) -> Fault | None:
        layer = self._sources.layer(number)
        given = None if layer is None else self._trace.input(layer, self._num_tokens)
        theirs = None if layer is None else self._trace.output(layer, self._num_tokens)
        if layer is None or given is None or theirs is None:
            return None
        out, calls = call_block(self._stack, number, given, self._step)
        error = self.errors[f"blocks.{number}"] = difference(out - given, theirs - given, theirs)
        if error <= self._tolerance:
            return None
        for call in calls:
            fault = self._part(number, layer, call, given)
            if fault is not None:
                return fault
        block = self._blocks[number]
        kind = "residual_scale, or the order of norms and residual sums"
        return self._compared(number, f"blocks.{number}", out - given, theirs - given, kind, layer,
                              detail=f"residual_scale {block.spec.residual_scale:g}, parallel {block.spec.parallel}")

    def _part(self, number: int, layer: str, call: Call, given: Tensor) -> Fault | None:
        """The fault of one part of a block; None when it is equal, or has no counterpart."""
        part = call.part
        is_heads = isinstance(part, PagedAttention) and part.params.value_dim is None
        if is_heads or (isinstance(part, PerHead) and part.part == "v_b"):
            mixer = next(module for module in self._blocks[number].modules() if part in module.children())
            return attention_fault(number, layer, mixer.spec, call, self._sources, self._trace, self._tolerance,
                                   getattr(self._reference, "config", None))
        if isinstance(part, MoE):
            return self._experts(number, call, part)
        if isinstance(part, Norm):
            return self._norm(number, call, given)
        if isinstance(part, Linear):
            return self._linear(number, call, part)
        return None

    def _norm(self, number: int, call: Call, given: Tensor) -> Fault | None:
        for stem in self._sources.stems_of(call.part):
            source = self._sources.by_home.get(stem)
            theirs = None if source is None else self._trace.output(source.module, self._num_tokens)
            if source is None or theirs is None:
                continue
            entered = self._trace.input(source.module, self._num_tokens)
            fault = None
            if entered is not None and call.name == "ffn_norm":
                block = self._blocks[number]
                fault = self._compared(
                    number, f"blocks.{number}.residual_scale", call.given["x"] - given, entered - given,
                    "residual_scale: the parts before this norm are equal, the sum with the residual is not",
                    f"the input of {source.module}", stream=entered,
                    detail=f"residual_scale {block.spec.residual_scale:g}")
            return fault or self._compared(number, stem, call.result, theirs, norm_kind(call.result, theirs),
                                           source.module, detail=_words(call.part), stream=call.residual)
        return None

    def _linear(self, number: int, call: Call, part: Linear) -> Fault | None:
        stems = self._sources.stems_of(part)
        if part.epilogue.act is not None:
            return self._activated(number, call, part, stems)
        for stem, ours in zip(stems, call.result.split(list(part.parts.values()), dim=1), strict=False):
            source = self._sources.by_home.get(stem)
            if source is None:
                continue
            theirs = self._trace.output(source.module, self._num_tokens)
            if stem.endswith(".router"):
                theirs = router_logits(self._reference, source.module, self._trace, self._num_tokens)
            if theirs is None:
                continue
            theirs = source.part_of(theirs)
            if theirs.shape != ours.shape:
                continue
            kind = linear_kind(ours, theirs)
            if stem.endswith(".router"):
                kind = f"{kind} of the router"
            fault = self._compared(number, stem, ours, theirs, kind, source.module, stream=call.residual,
                                   detail=f"bias {part.bias is not None}")
            if fault is not None:
                return fault
        return None

    def _activated(self, number: int, call: Call, part: Linear, stems: list[str]) -> Fault | None:
        """Of a product with an activation: compared with what goes into Transformers' next product."""
        after = self._sources.by_home.get(f"{stems[0].rpartition('.')[0]}.down")
        theirs = None if after is None else self._trace.input(after.module, self._num_tokens)
        if after is None or theirs is None or theirs.shape != call.result.shape:
            return None
        before = [self._result_of(stem) for stem in stems]
        kind, name, act = "weight or bias, or the activation", stems[0], part.epilogue.act
        known = [x.clone() for x in before if x is not None]
        if act is not None and len(known) == len(before):
            made = activation(act)(known[0])
            made = made if len(known) == 1 else made * known[1]
            is_act = difference(made, theirs) > self._tolerance
            name = stems[0].rpartition(".")[0] + ".act" if is_act else stems[0]
            kind = f"activation: {act} here" if is_act else "weight or bias of the products before the activation"
        return self._compared(number, name, call.result, theirs, kind, f"the input of {after.module}")

    def _result_of(self, stem: str) -> Tensor | None:
        source = self._sources.by_home.get(stem)
        found = None if source is None else self._trace.output(source.module, self._num_tokens)
        return None if source is None or found is None else source.part_of(found)

    def _experts(self, number: int, call: Call, part: MoE) -> Fault | None:
        source = self._sources.by_home.get(f"blocks.{number}.ffn.router")
        parent = None if source is None else source.module.rpartition(".")[0]
        theirs = None if parent is None else self._trace.output(parent, self._num_tokens)
        if source is None or parent is None or theirs is None or theirs.shape != call.result.shape:
            return None
        error = difference(call.result, theirs, call.residual)
        if error <= self._tolerance:
            return None
        name, kind = experts_kind(part, call, theirs, self._trace.outputs[source.module],
                                  router_logits(self._reference, source.module, self._trace, self._num_tokens),
                                  self._tolerance)
        return self._compared(number, f"blocks.{number}.ffn.{name}", call.result, theirs, kind, parent,
                              detail=part.spec.describe(), stream=call.residual)

    def _compared(self, layer: int | None, part: str, ours: Tensor, theirs: Tensor, kind: str, other: str, *,
                  detail: str = "", stream: Tensor | None = None) -> Fault | None:
        """The fault of a part whose result differs; its error is kept either way."""
        if ours.shape != theirs.shape:
            return Fault(layer=layer, part=part, kind=f"size: {list(ours.shape)} here, {list(theirs.shape)} there",
                         error=float("inf"), other=other, detail=detail)
        error = self.errors[part] = difference(ours, theirs, stream)
        if error <= self._tolerance:
            return None
        mine, other_number = worst(ours, theirs)
        return Fault(layer=layer, part=part, kind=kind, error=error, ours=mine, theirs=other_number, other=other,
                     position=first_position(ours, theirs, self._tolerance), detail=detail)


def _words(norm: Layer | nn.Module) -> str:
    """A norm's options in words."""
    if not isinstance(norm, Norm):
        return ""
    options = norm.options
    kind = "LayerNorm" if options.centred else "RMSNorm"
    return f"{kind}, eps {options.eps:g}" + (f", offset {options.offset:g}" if options.offset else "")
