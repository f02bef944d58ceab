"""Recorded decode (graph capture) of programmed models: marked modules run by recordings of their native calls.

A class says by `@support_torch_compile` that its Python does not depend on numbers. weft does not take its word alone:

- a torch operator that computes spoils a recording (`ops/tape.py`), and the step runs again without one;
- nothing is recorded where torch's hooks would be called, or an argument is anything but numbers and tensors;
- the first replay of each recording is compared, bit for bit, with the step run as it is written.

Rotary angles are computed before a recorded call, as in described models, because torch computes them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._pytree import tree_leaves, tree_map

from weft.layers.context import LayerContext
from weft.layers.public.compile import compile_mark
from weft.layers.public.layer import StepRef
from weft.layers.public.rope import RotaryEmbedding
from weft.models.replay import Inputs, StepReplay
from weft.ops.step import Step

logger = logging.getLogger("weft")


def record_marked(model: nn.Module, step: StepRef, context: LayerContext, vllm_config: Any) -> list[RecordedModule]:
    """Put a RecordedModule before the `forward` of each marked module that is not within another one."""
    recorded = []
    for module in _marked(model, vllm_config):
        watch = ModuleWatch(module)
        steps = StepReplay(context.isa, context.device, context.scratch, watch)
        recorder = RecordedModule(module, step, steps, watch, context.dtype)
        vars(module)["forward"] = recorder
        recorded.append(recorder)
    return recorded


def _marked(module: nn.Module, vllm_config: Any) -> Iterator[nn.Module]:
    mark = compile_mark(module)
    if mark is not None and (mark.enable_if is None or mark.enable_if(vllm_config)):
        yield module
        return
    for child in module.children():
        yield from _marked(child, vllm_config)


class ModuleWatch:
    """Says whether a marked module or one within it is hooked, or runs another `forward` than when it was built.

    Hooks of the marked module itself do not count: torch calls them around the recorded `forward`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._of_class: dict[type, Any] = {}
        self._own: dict[nn.Module, Any] = {}
        self.look()

    def look(self) -> None:
        """Find the modules that there are now."""
        modules = [module for module in self._module.modules() if module is not self._module]
        for module in modules:
            self._own.setdefault(module, vars(module).get("forward"))
        for cls in {type(module) for module in (self._module, *modules)}:
            self._of_class.setdefault(cls, getattr(cls, "forward", None))
        self._instances = [(vars(module), self._own[module]) for module in modules]
        self._hooks = [hooks for module in modules for hooks in (module._forward_hooks, module._forward_pre_hooks)]

    @property
    def is_changed(self) -> bool:
        """True while a module is hooked or another `forward` stands in its place."""
        return (any(self._hooks) or bool(torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)
                or any(getattr(cls, "forward", None) is not forward for cls, forward in self._of_class.items())
                or any(values.get("forward") is not forward for values, forward in self._instances))


class RecordedModule:
    """The `forward` of a marked module. Results are newly allocated, whether a recording or Python made them."""

    def __init__(self, module: nn.Module, step: StepRef, steps: StepReplay, watch: ModuleWatch,
                 dtype: torch.dtype) -> None:
        self._module, self._ref, self.steps, self._watch, self._dtype = module, step, steps, watch, dtype
        self._own: Callable[..., Any] | None = vars(module).get("forward")    # set by the constructor of the model
        self.__signature__ = inspect.signature(module.forward)
        self._tried: set[Hashable] = set()
        self._ropes: tuple[RotaryEmbedding, ...] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the module's own forward."""
        step = self._ref.step
        key = None if step is None else self.steps.key(step, self._call(args, kwargs))
        if step is None or key is None or not self.steps.is_due(key):
            return self._forward(*args, **kwargs)
        was_recorded, memo = key in self.steps, dict(self._ref.memo)
        result = self._repeated(key, args, kwargs, step)
        if not _is_plain(result):
            self.steps.refuse("forward returns more than tensors")
        if self.steps.refusal is not None:
            return self._again(memo, args, kwargs)
        result = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, result)
        if not was_recorded or key in self._tried:
            return result
        self._tried.add(key)
        wanted = self._again(memo, args, kwargs)
        if not _same_bits(result, wanted):
            self.steps.refuse("a replay gave other numbers than the step itself")
            logger.warning("%s is marked by support_torch_compile, but its steps are not recorded: a replayed step "
                           "gave other numbers. Its forward depends on more than its arguments and their shapes.",
                           type(self._module).__qualname__)
        return wanted

    def forget(self) -> None:
        """Drop the recordings: the model has changed."""
        self.steps.forget()
        self._watch.look()
        self._tried.clear()
        self._ropes = None

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        return type(self._module).forward(self._module, *args, **kwargs) if self._own is None else self._own(
            *args, **kwargs)

    def _again(self, memo: dict[Any, Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """The step as it is written. memo: as before this call."""
        self._ref.memo.clear()
        self._ref.memo.update(memo)
        return self._forward(*args, **kwargs)

    def _call(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Hashable:
        """What of a call decides which native calls it makes; of an argument that no recording can be given, itself.

        An argument that is no plain tensor, number, text or None is an object that equals no other, so that the call is
        never seen again.
        """
        return (len(args), *kwargs, *map(_fact, (*args, *kwargs.values())))

    def _repeated(self, key: Hashable, args: Sequence[Any], kwargs: dict[str, Any], step: Step) -> Any:
        """By the recording, or recorded now on tensors of the recording's own."""
        values = [*args, *kwargs.values()]
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        keys, angles = self._angles(self._positions(args, kwargs))

        def body(inputs: Inputs, recorded: Step) -> Any:
            given = list(values)
            for place, x in zip(places, inputs[: len(places)], strict=True):
                given[place] = x
            own_args, own_kwargs = given[: len(args)], dict(zip(kwargs, given[len(args) :], strict=True))
            positions, turns = self._positions(own_args, own_kwargs), inputs[len(places) :]
            for memo_key, cos, sin in zip(keys, turns[::2], turns[1::2], strict=True):
                self._ref.memo[memo_key] = positions, (cos, sin)
            before, self._ref.step = self._ref.step, recorded
            try:
                return self._forward(*own_args, **own_kwargs)
            finally:
                self._ref.step = before

        return self.steps.repeat(key, [*(values[i] for i in places), *angles], step, body)

    def _positions(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return self.__signature__.bind(*args, **kwargs).arguments.get("positions")

    def _angles(self, positions: Any) -> tuple[list[Any], list[Tensor]]:
        """(the memo keys of the module's rotary layers, cos and sin of each) for the positions that a call is given."""
        if self._ropes is None:
            ropes = {layer.memo_key: layer for layer in self._module.modules() if isinstance(layer, RotaryEmbedding)}
            self._ropes = tuple(ropes.values())
        if not isinstance(positions, Tensor):
            return [], []
        return ([layer.memo_key for layer in self._ropes],
                [x for layer in self._ropes for x in layer.angles_of(positions, self._dtype)])


def _fact(value: Any) -> Hashable:
    if type(value) is Tensor and value.device.type == "cpu" and value.is_contiguous():
        return value.shape, value.dtype
    if value is None or isinstance(value, bool | int | float | str):
        return type(value), value
    return object()


def _is_plain(result: Any) -> bool:
    """Whether a result is tensors in tuples, lists and dictionaries, which can be copied."""
    return all(x is None or type(x) is Tensor for x in tree_leaves(result))


def _same_bits(a: Any, b: Any) -> bool:
    mine, others = tree_leaves(a), tree_leaves(b)
    return len(mine) == len(others) and all(
        x is y if x is None or y is None else x.dtype == y.dtype and x.shape == y.shape and torch.equal(
            x.contiguous().view(torch.uint8), y.contiguous().view(torch.uint8))
        for x, y in zip(mine, others, strict=True))
