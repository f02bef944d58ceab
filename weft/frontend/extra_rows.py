"""`ExtraRows`: one answer's extra outputs as they come from the engine, divided into the prompt's rows and its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.engine.process.messages import WireTensor

if TYPE_CHECKING:
    from torch import Tensor


class ExtraRows:
    """Rows of extra outputs, one for each token that the model was given: the prompt, then the generated tokens."""

    def __init__(self, num_prompt_tokens: int) -> None:
        self._num_prompt_tokens = num_prompt_tokens
        self._parts: dict[str, list[Tensor]] = {}

    def push(self, rows: dict[str, WireTensor]) -> None:
        """Add the next positions' rows."""
        from weft.engine.process.wire_tensor import from_wire  # needs torch, which is slow to import

        for name, part in rows.items():
            self._parts.setdefault(name, []).append(from_wire(part))

    def of_prompt(self) -> dict[str, Tensor]:
        """{name: [tokens of the prompt, ...]}, as far as they have come."""
        return {name: rows[: self._num_prompt_tokens] for name, rows in self._joined().items()}

    def of_answer(self, first: int, num_tokens: int) -> dict[str, Tensor]:
        """{name: rows} of an answer's tokens from `first` on. The last of its `num_tokens` tokens has none: the model
        was never given it.
        """
        start = self._num_prompt_tokens
        last = start + max(num_tokens - 1, 0)
        return {name: rows[start + first : last] for name, rows in self._joined().items()}

    def _joined(self) -> dict[str, Tensor]:
        import torch

        self._parts = {name: parts if len(parts) == 1 else [torch.cat(parts)] for name, parts in self._parts.items()}
        return {name: parts[0] for name, parts in self._parts.items()}


def joined_rows(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """{name: rows} of two outputs after one another."""
    import torch

    return {name: torch.cat([old[name], new[name]]) if name in old and name in new else (old | new)[name]
            for name in {**old, **new}}
