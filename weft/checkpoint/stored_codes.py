"""Finds the weights of a checkpoint that can stay codes (quantized values), from names and headers alone."""

from __future__ import annotations

from weft.architectures.names import NameMap
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.routing import Router, has_rows
from weft.ops.quantized import QuantizedWeight


def stored_codes(checkpoint: Checkpoint, names: NameMap) -> dict[str, QuantizedWeight]:
    """{home: a row of zeros in the format of its codes}, for matrices that stay codes if their layer takes codes."""
    if checkpoint.is_dummy:
        return {}
    router, found = Router(names), {}
    for name in checkpoint.tensors:
        row = checkpoint.code_row(name)
        route = None if row is None else router.route(name)
        if route is not None and has_rows(route.layout):
            found |= dict.fromkeys(route.homes, row)
    return found
