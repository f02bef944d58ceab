"""`Part` and `@part`: a part of a model description is a frozen dataclass of plain values, which checks itself.

`part_check.py` compares each value with its field's annotation. A part's layer is set by `layers/registry.py`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import Any, ClassVar, TypeVar, dataclass_transform

from weft.architectures.part_check import check_fields, check_values

T = TypeVar("T")


class Part:
    """Base class of all parts.

    layer_class: the class that runs the part; None: the part is only a value of another part.
    is_open: whether a field for this part takes parts made from it, too; each class says so for itself. Bases without
    `@part` are open anyway.
    """

    layer_class: ClassVar[Any] = None
    is_open: ClassVar[bool] = False

    def describe(self, *, sizes: bool = True) -> str:
        """The part in a few words, for tables. By default its name and the values that are not defaults.

        sizes: whether the words include numbers.
        """
        name = type(self).__name__.removesuffix("Spec")
        values = {field.name: getattr(self, field.name) for field in fields(self)        # type: ignore[arg-type]
                  if field.default is MISSING or getattr(self, field.name) != field.default}
        words = [f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items()
                 if isinstance(value, int | float | str)] if sizes else []
        return f"{name} ({', '.join(words)})" if words else name


@dataclass_transform(frozen_default=True, kw_only_default=True)
def part(cls: type[T]) -> type[T]:
    """Class decorator: makes a frozen, keyword-only dataclass (without slots, which break `super()` in its methods).

    A field that is unknown, missing, or not as annotated is a DescriptionError with the possible values.
    """
    made = dataclass(frozen=True, kw_only=True)(cls)
    make = made.__init__

    @wraps(make)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        check_fields(made, args, values)
        make(self, **values)
        check_values(made, self)

    made.__init__ = checked
    return made
