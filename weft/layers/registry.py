"""`register_part`: gives a part of a model description the layer that runs it.

weft's own parts are registered beside their layers; a user's file calls `register_part` for a part of its own.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from weft.architectures.spec import BlockSpec, FfnSpec, MixerSpec, NormSpec, Part, Rope
from weft.errors import DescriptionError
from weft.layers.layer import Layer


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the model makes and calls layers of one kind of parts: arguments by place, and by name."""

    base: type[Part]
    method: str
    called_with: tuple[str, ...]
    made_of: tuple[str, ...] = ("spec", "hidden_size")
    made_with: tuple[str, ...] = ("context",)
    is_layer: bool = True


_KINDS = (
    _Kind(MixerSpec, "forward", ("x", "step", "angles", "residual", "alpha")),
    _Kind(FfnSpec, "forward", ("x", "residual", "alpha")),
    _Kind(NormSpec, "forward", ("x", "residual", "alpha"), made_with=("context", "role")),
    _Kind(BlockSpec, "forward", ("hidden", "step", "angles")),
    _Kind(Rope, "angles", ("positions", "dtype"), ("rope",), ("max_model_len",), is_layer=False),
)


def register_part(spec_class: type[Part], layer_class: type) -> None:
    """From now on a part of this class is run by this layer.

    spec_class: a `@part` that is a MixerSpec, FfnSpec, NormSpec, BlockSpec or Rope. layer_class: a `Layer`, made as
    layer_class(part, hidden_size, context=context); for a Rope any class, made as layer_class(part, max_model_len=...),
    with a method angles(positions, dtype).
    DescriptionError for a class that is no such part, or a layer that cannot be made or called.
    """
    kind = next((kind for kind in _KINDS if inspect.isclass(spec_class) and issubclass(spec_class, kind.base)), None)
    if kind is None or "__dataclass_fields__" not in vars(spec_class):
        names = ", ".join(kind.base.__name__ for kind in _KINDS)
        raise DescriptionError("register_part.spec_class", getattr(spec_class, "__name__", spec_class),
                               expected=f"a class marked with @part that is one of {names}")
    if not inspect.isclass(layer_class) or (kind.is_layer and not issubclass(layer_class, Layer)):
        raise DescriptionError("register_part.layer_class", getattr(layer_class, "__name__", layer_class),
                               expected="a class that is a weft.layers.layer.Layer" if kind.is_layer else "a class")
    _check_call(layer_class, "__init__", kind.made_of, kind.made_with)
    _check_call(layer_class, kind.method, kind.called_with, ())
    spec_class.layer_class = layer_class


def layer_of(part: Part) -> Any:
    """The class that runs a part. DescriptionError for a class of parts that has none, also if its base has one."""
    cls = type(part)
    found = vars(cls).get("layer_class")
    if found is None:
        raise DescriptionError("part", cls.__name__, expected="a part with a layer",
                               hint=f"Call weft.layers.registry.register_part({cls.__name__}, its layer) where "
                               f"{cls.__name__} is defined.")
    return found


def _check_call(cls: type, method: str, places: tuple[str, ...], names: tuple[str, ...]) -> None:
    """DescriptionError unless a method takes what the model gives it."""
    wanted = ", ".join(("self", *places, *("*" for _ in names[:1]), *names))
    function = getattr(cls, method, None)
    if function is None:
        raise DescriptionError("register_part.layer_class", cls.__name__, expected=f"a method {method}({wanted})")
    try:
        inspect.signature(function).bind("self", *places, **dict.fromkeys(names))
    except TypeError as error:
        raise DescriptionError(f"{cls.__name__}.{method}", f"{method}{inspect.signature(function)}",
                               expected=f"{method}({wanted})", hint=f"The model's call fails: {error}.") from error
