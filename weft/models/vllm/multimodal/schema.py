"""`TensorSchema`: the base class with which models name the tensors of their media, with shapes in annotations."""

from __future__ import annotations

from typing import Any


class TensorShape:
    """A shape in an annotation: sizes and names of sizes. dynamic_dims: names that may differ between tensors."""

    def __init__(self, *dims: int | str, dynamic_dims: set[str] | None = None) -> None:
        self.dims, self.dynamic_dims = dims, dynamic_dims or set()


class TensorSchema:
    """Values by name, as attributes and by `[…]`. Shapes are not compared: the model's own operators refuse others."""

    def __init__(self, *, validate: bool = True, resolve_bindings: dict[str, int] | None = None, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dictionary."""
        return getattr(self, name, default)
