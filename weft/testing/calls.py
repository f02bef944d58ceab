"""Runs one block of a described model on given states, and keeps what goes into each of its parts and comes out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from weft.layers.layer import Layer
from weft.layers.parts import rope_of
from weft.models.decoder import Stack
from weft.ops.step import Step


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of a part. name: within the block. given: its arguments by name. result: [T, ...]; of a part that adds
    to a residual, what it added. residual: what it was added to.
    """

    name: str
    part: Layer
    given: dict[str, Any]
    result: Tensor
    residual: Tensor | None


def call_block(stack: Stack, number: int, hidden: Tensor, step: Step) -> tuple[Tensor, list[Call]]:
    """([T, E] that comes out of a block, its parts' calls in the order in which they end). hidden: [T, E]."""
    block = list(stack.each_block())[number]
    calls: list[Call] = []
    rope = rope_of(block.mixer)
    angles = None if rope is None else stack.ropes[rope].angles(step.positions, stack.dtype)
    with _kept(block, calls):
        out = block(hidden.to(stack.dtype).clone(), step, angles)
    return out.clone(), calls


@contextmanager
def _kept(block: Layer, calls: list[Call]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, part in block.named_modules():
            if isinstance(part, Layer) and part is not block and part.runs_in is None:
                before, after = _hooks(name, calls)
                stack.callback(part.register_forward_pre_hook(before).remove)
                stack.callback(part.register_forward_hook(after).remove)
        yield


def _hooks(name: str, calls: list[Call]) -> tuple[Any, Any]:
    kept: list[dict[str, Any]] = []

    def before(part: Layer, args: tuple) -> None:
        bound = inspect.signature(type(part).forward).bind(part, *args).arguments
        kept.append({key: x.clone() if isinstance(x, Tensor) else x for key, x in bound.items() if key != "self"})

    def after(part: Layer, args: tuple, result: Tensor) -> None:
        given = kept.pop()
        residual, alpha = given.get("residual"), given.get("alpha", 1.0)
        own = result.clone() if residual is None else (result - residual) / alpha
        calls.append(Call(name, part, given, own, residual))

    return before, after
