"""Finds the part of a programmed model (or of one that Transformers' own code runs) that differs, by modules' names.

Modules of both sides that have one name are compared, what goes in and what comes out, in the order in which
Transformers calls them. Such a model runs as a whole, so a part is given what the parts before it made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from weft.ops.step import Step
from weft.testing.diagnosis import difference, first_position, linear_kind, norm_kind, worst
from weft.testing.reference import Trace, tensors_in
from weft.testing.report import Fault
from weft.testing.runs import Runs

# Products of one module here that Transformers has as several: last name here -> last names there.
_MERGED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
_CONTAINERS = frozenset({"model", "language_model", "transformer", "self_attn", "self_attention", "attention", "mlp"})


def fault_by_names(runs: Runs, step: Step, trace: Trace, tolerance: float, errors: dict[str, float]) -> Fault | None:
    """The first module that differs; None when none does, or no names agree. errors: gets each difference."""
    num_tokens, mine = len(step.input_ids), Trace()
    with torch.inference_mode(), _kept(runs.model.module, mine):
        hidden = runs.model.forward(step)
        if runs.has_head:
            runs.model.compute_logits(hidden)
    names = _renamed(mine, trace)
    for name in _in_order(trace, names):
        for side in ("input", "output"):
            ours, theirs = _pair(mine, trace, names[name], name, side, num_tokens)
            if ours is None or theirs is None or ours.shape != theirs.shape:
                continue
            error = errors[f"{names[name]}.{side}"] = difference(ours, theirs)
            if error > tolerance:
                numbers = worst(ours, theirs)
                return Fault(layer=_layer(name), part=names[name], kind=_kind(side, name, ours, theirs), error=error,
                             position=first_position(ours, theirs, tolerance), ours=numbers[0], theirs=numbers[1],
                             other=f"the input of {name}" if side == "input" else name)
    return None


def _renamed(mine: Trace, trace: Trace) -> dict[str, str]:
    """{module of Transformers: module here}: of one name, but for containers around it and merged products."""
    plain: dict[str, list[str]] = {}
    for here in mine.outputs:
        plain.setdefault(_plain(here), []).append(here)
    found = {}
    for name in trace.outputs:
        for spelled in (_plain(name), *_merged(_plain(name))):
            if len(plain.get(spelled, ())) == 1:
                found.setdefault(name, plain[spelled][0])
    return found


def _plain(name: str) -> str:
    """A module's name without the containers that differ from one implementation to another."""
    *around, last = name.split(".")
    return ".".join([*(part for part in around if part not in _CONTAINERS), last])


def _merged(name: str) -> Iterator[str]:
    """The modules here that may hold a product of Transformers beside others."""
    head, _, last = name.rpartition(".")
    yield from (f"{head}.{merged}" for merged, parts in _MERGED.items() if last in parts)


def _in_order(trace: Trace, names: dict[str, str]) -> list[str]:
    """Transformers' modules that have a counterpart, in the order in which they end; containers after their parts."""
    return [name for name in trace.outputs if name in names]


def _pair(mine: Trace, trace: Trace, here: str, name: str, side: str,
          num_tokens: int) -> tuple[Tensor | None, Tensor | None]:
    last, merged = name.rpartition(".")[2], here.rpartition(".")[2]
    if side == "input":
        return mine.input(here, num_tokens), trace.input(name, num_tokens)
    theirs, ours = trace.output(name, num_tokens), mine.output(here, num_tokens)
    if merged in _MERGED and last in _MERGED[merged] and theirs is not None and ours is not None:
        head = name.rpartition(".")[0]
        sizes = [x.shape[1] for part in _MERGED[merged]
                 if (x := trace.output(f"{head}.{part}", num_tokens)) is not None]
        if sum(sizes) != ours.shape[1]:
            return None, None
        ours = ours.split(sizes, dim=1)[_MERGED[merged].index(last)]
    return ours, theirs


def _kind(side: str, name: str, ours: Tensor, theirs: Tensor) -> str:
    last = name.rpartition(".")[2]
    if side == "input":
        if last in ("down_proj", "w2", "fc2", "dense_4h_to_h") or name.endswith("mlp.c_proj"):
            return "activation before this product"
        if last in ("o_proj", "out_proj", "dense", "c_proj", "wo"):
            return "attention before this product: rotation, scale, softcap or mask (window)"
        return "what happens between the part before this one and its input: a scale, a residual sum"
    if "norm" in last or last.startswith("ln_"):
        return norm_kind(ours, theirs)
    if "act" in last:
        return "activation"
    if "embed" in last or last == "wte":
        return "table of the embedding, or its scale"
    return linear_kind(ours, theirs)


def _layer(name: str) -> int | None:
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


@contextmanager
def _kept(model: nn.Module, mine: Trace) -> Iterator[None]:
    def before(name: str) -> Any:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            if given:                                         # a norm that is given a residual adds it first
                has_residual = len(given) == 2 and given[1].shape == given[0].shape
                mine.inputs.setdefault(name, (given[0] + given[1] if has_residual else given[0]).detach().clone())
        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, args: tuple, result: Any) -> None:
            mine.outputs.setdefault(name, tuple(x.detach().clone() for x in tensors_in(result)))
        return hook

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if getattr(module, "runs_in", None) is None:
                stack.callback(module.register_forward_pre_hook(before(name), with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(after(name)).remove)
        yield
