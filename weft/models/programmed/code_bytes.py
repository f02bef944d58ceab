"""What a programmed model saves by loading codes (quantized values), from headers alone: for the memory plan.

Which layer takes a tensor, only `load_weights` knows. Each is counted as the matrix of a product, and as an expert's by
its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod

from torch import nn

from weft.checkpoint.reader import Checkpoint
from weft.layers.context import LayerContext
from weft.layers.linear import linear_case
from weft.layers.public.fused_moe import FusedMoE
from weft.ops.linear import product_bytes

_EXPERT = re.compile(r"(.*\bexperts)\.\d+\.(.*)")
_ROWS = 64      # kernels pad rows to a multiple of this: once for a fused matrix, so its parts are counted without
_DOWN = re.compile(r"\b(w2|\w*down\w*)\b")


def coded_names(checkpoint: Checkpoint) -> list[str]:
    """Names of the tensors that have codes."""
    return list(filter(checkpoint.has_codes, checkpoint.tensors))


def bytes_saved_by_codes(checkpoint: Checkpoint, model: nn.Module, context: LayerContext) -> int:
    """Bytes by which codes are smaller than their numbers, as far as layers of weft take them."""
    saved, has_mixtures = 0, any(isinstance(module, FusedMoE) for module in model.modules())
    as_floats = set(_experts_as_floats(checkpoint, context)) if has_mixtures else set()
    for name in coded_names(checkpoint):
        row = checkpoint.code_row(name)
        if name in as_floats or row is None:
            continue
        if has_mixtures and _EXPERT.fullmatch(name):
            row = row.weight_only()
        shape = checkpoint.tensors[name].shape
        *rows, columns = reversed(shape) if checkpoint.codes_are_turned(name) else shape
        case = linear_case(replace(context, quantization=None), columns, _ROWS, is_table=True)
        saved += prod(rows) * (product_bytes(case) - product_bytes(case, row)) // _ROWS
    return saved


def _experts_as_floats(checkpoint: Checkpoint, context: LayerContext) -> Iterator[str]:
    """Names of experts' matrices that a FusedMoE turns into floats: gate and up of all experts have one format, or none
    stays codes; so has down.
    """
    kinds: dict[tuple[str, bool], dict[str, object]] = {}
    for name in checkpoint.tensors:
        found = _EXPERT.fullmatch(name)
        if found and len(checkpoint.tensors[name].shape) == 2:
            row = checkpoint.code_row(name)
            kind = kinds.setdefault((found[1], _DOWN.search(found[2]) is not None), {})
            kind[name] = None if row is None else row.weight_only().format
    for formats in kinds.values():
        if not context.is_native or len(set(formats.values())) > 1:
            yield from formats
