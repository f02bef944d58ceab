"""Choosing a kernel (dispatch): the first kernel that does not refuse a case is taken; the others' reasons are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from weft.errors import NotBuiltError


def never(case: Any) -> None:
    """A `refuses` that refuses nothing."""
    return None


@dataclass(frozen=True, slots=True)
class Kernel:
    """One way to compute an operator.

    run(...): computes the operator; None for operators with weights.
    refuses(case): None when the kernel computes the case, else the reason why not, in a few words.
    prepare(...): for operators with weights: takes the loaded weights once and returns what replaces `run`.
    """

    name: str
    run: Callable[..., Any] | None = None
    refuses: Callable[[Any], str | None] = never
    prepare: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The kernel that a layer runs. refused: (name, reason) of each kernel that was tried before."""

    operator: str
    kernel: Kernel
    refused: tuple[tuple[str, str], ...]

    @property
    def run(self) -> Callable[..., Any]:
        """The kernel's function."""
        assert self.kernel.run is not None, f"{self.operator}: prepared, not run"
        return self.kernel.run

    @property
    def prepare(self) -> Callable[..., Any]:
        """The kernel's function that takes the loaded weights."""
        assert self.kernel.prepare is not None, f"{self.operator}: run, not prepared"
        return self.kernel.prepare

    @property
    def name(self) -> str:
        """The kernel's name."""
        return self.kernel.name

    def __str__(self) -> str:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.refused)
        return f"{self.kernel.name}" + (f" ({reasons})" if reasons else "")


def choose(operator: str, kernels: Sequence[Kernel], case: Any) -> Choice:
    """The first kernel that does not refuse the case. NotBuiltError joins the reasons when all refuse."""
    refused = []
    for kernel in kernels:
        reason = kernel.refuses(case)
        if reason is None:
            return Choice(operator, kernel, tuple(refused))
        refused.append((kernel.name, reason))
    raise NotBuiltError(operator, case, expected="a case that a kernel computes",
                        hint="; ".join(f"{name}: {reason}" for name, reason in refused))


def explain(choices: Iterable[Choice]) -> dict[str, str]:
    """{operator: the kernels that a model's layers chose, with the reasons against others}, sorted by operator."""
    chosen: dict[str, dict[str, None]] = {}
    for choice in choices:
        chosen.setdefault(choice.operator, {})[str(choice)] = None
    return {operator: "; ".join(texts) for operator, texts in sorted(chosen.items())}
