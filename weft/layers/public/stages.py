"""A model's layers as stages of a pipeline: what a process builds of them, and what passes from stage to stage.

In one process there is one stage with all layers. Names and arguments are vLLM's.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.parallel import get_pp_group, pipeline_span


class PPMissingLayer(nn.Identity):
    """Stands where another process has a layer. Called with several arguments, it returns the first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The first argument."""
        return args[0] if args else next(iter(kwargs.values()))


@dataclass
class IntermediateTensors:
    """What one stage hands to the next, by name: usually "hidden_states" and "residual", each [T, E]."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: slice) -> IntermediateTensors: ...

    def __getitem__(self, key: str | slice) -> Tensor | IntermediateTensors:
        """A tensor by its name, or these rows of all tensors."""
        if isinstance(key, str):
            return self.tensors[key]
        return IntermediateTensors({name: tensor[key] for name, tensor in self.tensors.items()})

    def __setitem__(self, key: str, value: Tensor) -> None:
        self.tensors[key] = value

    def __len__(self) -> int:
        return len(self.tensors)

    def items(self) -> ItemsView[str, Tensor]:
        """(name, tensor) of all."""
        return self.tensors.items()


def make_layers(num_hidden_layers: int, layer_fn: Callable[..., nn.Module],
                prefix: str) -> tuple[int, int, nn.ModuleList]:
    """(first layer, end, list of all layers), where only layers from first to end are made in this process.

    layer_fn(prefix="model.layers.3") makes a layer.
    """
    start, end = pipeline_span(num_hidden_layers, get_pp_group())
    return start, end, nn.ModuleList(layer_fn(prefix=f"{prefix}.{number}") if start <= number < end
                                     else PPMissingLayer() for number in range(num_hidden_layers))


def is_pp_missing_parameter(name: str, model: nn.Module) -> bool:
    """True for the name of a parameter that another process has."""
    return any(isinstance(module, PPMissingLayer) and name.startswith(f"{place}.")
               for place, module in model.named_modules())


def make_empty_intermediate_tensors_factory(keys: Sequence[str],
                                            hidden_size: int) -> Callable[..., IntermediateTensors]:
    """A function of (batch_size, dtype, device) that makes IntermediateTensors of zeros with these names."""

    def make(batch_size: int, dtype: torch.dtype, device: torch.device | str) -> IntermediateTensors:
        return IntermediateTensors({key: torch.zeros(batch_size, hidden_size, dtype=dtype, device=device)
                                    for key in keys})

    return make


def extract_layer_index(layer_name: str, num_attn_module: int = 1) -> int:
    """The number in a layer's name: 3 in "model.layers.3.self_attn". ConfigError unless the name has one number.

    num_attn_module: attention modules of a layer, whose numbers follow each other: with 2, "layers.3.attn.1" is 7.
    """
    numbers = [int(part) for part in layer_name.split(".") if part.isdecimal()]
    if num_attn_module > 1 and len(numbers) == 2:
        return numbers[0] * num_attn_module + numbers[1]
    if len(numbers) != 1:
        raise ConfigError("prefix", layer_name, expected="a name with one number, such as model.layers.3.self_attn")
    return numbers[0]


def maybe_prefix(prefix: str, name: str) -> str:
    """`prefix.name`, or `name` without a prefix."""
    return f"{prefix}.{name}" if prefix else name
