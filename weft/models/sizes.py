"""What a built model costs, asked of its layers: parameters, bytes of weights and of a step, operations of a token.

A model can be asked while it has no memory. What one layer costs is said by the layer itself (`layers/layer.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

import torch
from torch import nn

from weft.architectures.spec import EncoderSpec, ModelSpec
from weft.cache.need import TokensNeed
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer, StepLimits
from weft.layers.paged_attention import PagedAttention
from weft.layers.state import StateLayer
from weft.models.decoder import Decoder, Stack
from weft.models.pooled_stack import PooledStack
from weft.ops.quantized import QuantizedWeight


def layers_of(model: nn.Module) -> Iterator[Layer]:
    """All layers of a model, at any depth."""
    return (module for module in model.modules() if isinstance(module, Layer))


def held_bytes(model: Layer, codes: Mapping[str, QuantizedWeight]) -> int:
    """Bytes of all weights as their kernels hold them. codes: {home: a whole row} of the homes that stay codes."""
    by_layer: dict[Layer, dict[str, QuantizedWeight]] = {}
    if codes:
        homes = model.homes()
        for name, row in codes.items():
            if name in homes:
                home = homes[name]
                by_layer.setdefault(home.layer, {})[home.part] = home.cut_row(row)
    return sum(layer.held_bytes(by_layer.get(layer, {})) for layer in layers_of(model))


def step_bytes(model: nn.Module, token_bytes: int, num_outputs: int, limits: StepLimits, *, native: bool) -> int:
    """Bytes of the largest step. token_bytes: of one row in the hungriest block. num_outputs: of one wanted row.

    Outputs (logits, or an encoder's states) are float32; native sampling holds one more copy for log-probabilities and
    some rows for each thread.
    """
    rows = limits.num_wanted_rows
    outputs = (2 * rows + 5 * limits.num_threads if native else 3 * rows) * num_outputs * 4
    fixed = max((layer.step_bytes(limits) for layer in layers_of(model)), default=0)
    return limits.num_tokens * token_bytes + outputs + fixed


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """{part name + suffix: shape} of every parameter; matrices are [out, in]. Of a foreign module: its own names.

    A home with two names is under the first.
    """
    if isinstance(model, Layer):
        places: dict[tuple[Layer, str], tuple[str, Home]] = {}
        for name, home in model.homes().items():
            places.setdefault(home.place, (name, home))
        return {name: tuple(home.view.shape) for name, home in places.values()}
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def num_parameters(model: nn.Module) -> int:
    """Numbers that a model or layer holds; a shared table counts once."""
    return sum(map(prod, parameter_shapes(model).values()))


def float_bytes(model: nn.Module, dtype: str) -> int:
    """Bytes of all numbers of a model as floats of a dtype, "bfloat16" and the like."""
    return num_parameters(model) * getattr(torch, dtype).itemsize


def num_active_parameters(model: nn.Module) -> int:
    """Numbers that one token's forward pass uses: all, without the experts that its router does not pick."""
    return num_parameters(model) - sum(layer.num_idle_parameters() for layer in layers_of(model))


def cache_bytes_per_token(model: nn.Module) -> int:
    """Bytes of one token's keys and values in all layers of a model, or in one of its parts."""
    return sum(module.need.bytes_per_token for module in model.modules()
               if isinstance(module, PagedAttention) and isinstance(module.need, TokensNeed))


def state_bytes(model: nn.Module) -> int:
    """Bytes of one sequence's state in all layers of a model, or in one of its parts."""
    return sum(module.need.bytes_per_state for module in model.modules() if isinstance(module, StateLayer))


def flops_per_token(model: nn.Module, *, context_len: int = 0) -> int:
    """Floating-point operations of one token that sees `context_len` tokens: matrix products and attention only.

    A product of a matrix with a vector counts two operations for each weight.
    """
    return sum(layer.flops_per_token(context_len) for layer in layers_of(model))


def model_of(spec: ModelSpec, *, tied: bool | None = None, context: LayerContext | None = None) -> Stack:
    """The model of a spec without memory, to be asked. tied: of a decoder; None for what the config says."""
    context = context or LayerContext(torch.float32)
    if isinstance(spec, EncoderSpec):
        return PooledStack(spec, context=context)
    return Decoder(spec, tied=spec.head.tied if tied is None else tied, context=context)
