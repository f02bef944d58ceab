"""Public layers as the engine makes them: bound to kernels, loaded with random numbers, and in a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from isa_levels import native_levels
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.layers.layer import allocate
from weft.layers.public import (
    Attention,
    MergedColumnParallelLinear,
    ParallelLMHead,
    QKVParallelLinear,
    ReplicatedLinear,
    RMSNorm,
    RotaryEmbedding,
    StepRef,
    VocabParallelEmbedding,
)
from weft.layers.public.embedding import tie_shared_tables
from weft.layers.public.layer import PublicLayer
from weft.ops.attention import attention_plan
from weft.ops.step import Step

LEVELS = ("reference", *[level for level in native_levels() if level != "amx_emulated"][-1:])
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 4e-2}       # of a result of size 1: the last digits of the dtype
contexts = pytest.mark.parametrize("context", [
    pytest.param(LayerContext(dtype, isa=level), id=f"{level}-{str(dtype)[6:]}")
    for level in LEVELS for dtype in (torch.float32, torch.bfloat16)])
WIDTH = 24
REFERENCE = LayerContext(torch.float32)
LAYERS = {
    "linear": lambda: ReplicatedLinear(WIDTH, 10, return_bias=False),
    "qkv": lambda: QKVParallelLinear(WIDTH, 8, 4, 2, return_bias=False),
    "merged": lambda: MergedColumnParallelLinear(WIDTH, [7, 9], bias=False, return_bias=False),
    "norm": lambda: RMSNorm(WIDTH),
    "embedding": lambda: VocabParallelEmbedding(40, WIDTH),
    "head": lambda: ParallelLMHead(40, WIDTH, bias=True),
}
layers = pytest.mark.parametrize("name", LAYERS)


@contextmanager
def default_dtype(dtype: torch.dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def made(make: Callable[[], nn.Module], context: LayerContext) -> tuple[nn.Module, StepRef]:
    """A layer, or a module of layers, bound and with memory, but without numbers."""
    step = StepRef()
    with default_dtype(context.dtype):
        module = make()
    tie_shared_tables(module)
    for layer in public_layers(module):
        layer.bind(context, step)
    allocate(module, "cpu")
    return module, step


def loaded(make: Callable[[], nn.Module], context: LayerContext, step: Step | None = None, *,
           values: dict[str, Tensor] | None = None) -> nn.Module:
    """A layer, or a module of layers, ready to be called. step: the one that it is in from now on. values: of the
    parameters; None: `given`.
    """
    module, step_ref = made(make, context)
    values = given(module, context.dtype) if values is None else values
    for name, parameter in module.named_parameters():
        parameter.weight_loader(parameter, values[name])
    finish(module)
    step_ref.begin(step)
    return module


def given(layer: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """What `loaded` gave the layer's parameters, by name."""
    return {name: numbers(parameter.shape, dtype, seed=i)
            for i, (name, parameter) in enumerate(sorted(layer.named_parameters()))}


def finish(module: nn.Module) -> None:
    for layer in public_layers(module):
        layer.finish_loading()
        if isinstance(layer, RotaryEmbedding):
            layer.prepare(max_model_len=64)
        if isinstance(layer, Attention):
            layer.paged.bind_cache(tuple(torch.full(shape, torch.nan, dtype=dtype) for shape, dtype in
                                         zip(layer.paged.cache_shapes(4), layer.paged.cache_dtypes, strict=True)), 0)


def public_layers(module: nn.Module) -> list[PublicLayer]:
    return [layer for layer in module.modules() if isinstance(layer, PublicLayer)]


def numbers(shape, dtype: torch.dtype, *, seed: int = 0) -> Tensor:
    return (torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) * 0.5).to(dtype)


def prompt_step(*query_lens: int) -> Step:
    """The first step of as many sequences, each in blocks of its own."""
    starts = [16 * i for i in range(len(query_lens))]
    slots = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, query_lens, strict=True)])
    plan = attention_plan(query_lens=query_lens, seq_lens=query_lens, num_decodes=0, slots=slots,
                          table=np.arange(len(query_lens)).reshape(-1, 1), window=None, block_size=16)
    positions = torch.cat([torch.arange(n) for n in query_lens])
    return Step(input_ids=torch.zeros_like(positions), positions=positions, query_lens=query_lens, caches=(plan,))


def memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
