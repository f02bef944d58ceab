"""Small functions of vLLM's `utils` that model files call."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor
from torch.library import Library, infer_schema

from weft.parallel import get_tensor_model_parallel_rank, get_tensor_model_parallel_world_size

T = TypeVar("T")
STR_DTYPE_TO_TORCH_DTYPE = {
    "float32": torch.float32, "float": torch.float32, "half": torch.float16, "float16": torch.float16,
    "bfloat16": torch.bfloat16, "fp8": torch.uint8, "int8": torch.int8,
}
# The operators torch.ops.vllm.…, which files define by `direct_register_custom_op`: torch keeps them for the process.
vllm_lib = Library("vllm", "FRAGMENT")


class LayerBlockType(Enum):
    """What mixes tokens in a block of a hybrid model."""

    attention = "attention"
    mamba = "mamba"


def cdiv(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(a // -b)


def round_up(x: int, y: int) -> int:
    """The next multiple of y."""
    return cdiv(x, y) * y


def round_down(x: int, y: int) -> int:
    """The multiple of y before or at x."""
    return x // y * y


def is_list_of(value: object, typ: type[T] | tuple[type[T], ...], *, check: str = "first") -> TypeGuard[list[T]]:
    """Whether the value is a list of such objects. check: "first" looks at the first item only, "all" at all."""
    if not isinstance(value, list):
        return False
    return all(isinstance(item, typ) for item in (value[:1] if check == "first" else value))


def length_from_prompt_token_ids_or_embeds(prompt_token_ids: list[int] | None, prompt_embeds: Tensor | None) -> int:
    """A prompt's length in tokens. prompt_embeds: [T, H]. ValueError if neither is given or their lengths differ."""
    lengths = {len(given) for given in (prompt_token_ids, prompt_embeds) if given is not None}
    if len(lengths) != 1:
        raise ValueError(f"prompt_token_ids and prompt_embeds have the lengths {sorted(lengths)}, expected one length")
    return lengths.pop()


def cast_overflow_tensors(tensors: Tensor, offset: float = 1000) -> Tensor:
    """The tensor, or if a number in it is infinite or NaN: the tensor within the dtype's range less `offset`."""
    if torch.isfinite(tensors).all():
        return tensors
    limit = torch.finfo(tensors.dtype).max - offset
    return tensors.clamp(-limit, limit)


def sequence_parallel_chunk(x: Tensor) -> Tensor:
    """This rank's share of the rows of x [T, ...] among the ranks of tensor parallelism; rows of zeros fill the last.

    Result: [ceil(T / ranks), ...].
    """
    ranks, rank = get_tensor_model_parallel_world_size(), get_tensor_model_parallel_rank()
    rows = cdiv(len(x), ranks)
    missing = rows * ranks - len(x)
    filled = torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing else x
    return filled[rank * rows:(rank + 1) * rows]


@contextmanager
def set_default_torch_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Within, new tensors of floats have this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def maybe_disable_graph_partition(current_backend: str) -> dict[str, bool]:
    """Options of torch.compile for a function that files compile by themselves: only inductor divides graphs."""
    return {"graph_partition": False} if current_backend == "inductor" else {}


def resolve_obj_by_qualname(qualname: str) -> Any:
    """The object of "module.name"."""
    module, _, name = qualname.rpartition(".")
    return getattr(importlib.import_module(module), name)


def is_pin_memory_available() -> bool:
    """False: there is no device that copies from pinned memory."""
    return False


def direct_register_custom_op(op_name: str, op_func: Callable[..., Any], mutates_args: list[str] | None = None,
                              fake_impl: Callable[..., Any] | None = None, target_lib: Library | None = None,
                              dispatch_key: str | None = None, tags: tuple[torch.Tag, ...] = ()) -> None:
    """Make `op_func` the operator torch.ops.vllm.<op_name>, on the CPU. A name that is taken stays as it is."""
    library = target_lib or vllm_lib
    if hasattr(getattr(torch.ops, library.ns), op_name):
        return
    library.define(op_name + infer_schema(op_func, mutates_args=mutates_args or []), tags=tags)
    library.impl(op_name, op_func, dispatch_key="CPU")
    if fake_impl is not None:
        library._register_fake(op_name, fake_impl)


def get_layer_index(feature_layer_index: int, num_hidden_layers: int) -> int:
    """How many layers a tower needs for the states of a layer, which is counted from the end if it is negative."""
    return feature_layer_index + 1 + num_hidden_layers if feature_layer_index < 0 else feature_layer_index
