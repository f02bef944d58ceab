"""`VllmParams`: the metaclass of parameters whose constructors take all fields that vLLM's ever had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

Accept = Callable[[Mapping[str, Any], Collection[str]], dict[str, Any]]


class VllmParams(type(msgspec.Struct)):
    """Passes names that are no fields of the struct to its class attribute `accept`, which returns fields."""

    accept: Accept

    if not TYPE_CHECKING:      # type checkers should see the constructor that msgspec makes
        def __call__(cls, *values: Any, **given: Any) -> Any:
            """Make a struct. TypeError for a name that is neither a field nor an option of vLLM."""
            own = cls.__struct_fields__
            return super().__call__(*values, **(given if all(name in own for name in given)
                                                else cls.accept(given, own)))
