"""What a model's weights take once their kernels hold them: packed codes or floats, told from names and headers alone.

Follows what layers do with loaded matrices (`layers/linear.py`, `layers/mlp.py`); the bytes of one are the operator's
to tell. `memory.py` plans with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch

from weft.architectures.sizes import DTYPE_BYTES, parameter_shapes
from weft.architectures.spec import DecoderSpec, MoESpec
from weft.checkpoint.loader import EMBEDDING, HEAD, names_in
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.routing import Router, has_rows
from weft.config.engine_config import EngineConfig
from weft.config.quantization_methods import at_load
from weft.ops.linear import LinearCase, product_bytes
from weft.ops.moe import MoECase, choose_moe
from weft.ops.native import unavailable
from weft.ops.quantized import QuantizedWeight, weight_only

# Parts of a layer whose matrices are one product.
_FUSED = {"q": "qkv", "k": "qkv", "v": "qkv", "k_b": "kv_b", "v_b": "kv_b", "gate": "gate_up", "up": "gate_up"}
_EXACT = ("router", "shared_gate")                            # never quantized while they are loaded

Codes = Mapping[str, QuantizedWeight]


@dataclass(frozen=True, slots=True)
class _Product:
    """layer: the stem of its parts, as in blocks.0.ffn.experts.3; part: as in _FUSED; homes: {name: rows}."""

    layer: str
    part: str
    columns: int
    homes: dict[str, int]


def weight_bytes(spec: DecoderSpec, config: EngineConfig, checkpoint: Checkpoint | None = None, *,
                 has_own_head: bool | None = None) -> int:
    """Bytes of all weights. checkpoint: None or a dummy for one of floats; only its headers are read."""
    shapes = parameter_shapes(spec, has_own_head=has_own_head)
    width, is_native = DTYPE_BYTES[config.model.dtype], unavailable("cpu", config.cpu_isa) is None
    codes = stored_codes(spec, shapes, checkpoint)
    products, experts, known, total = _products(shapes), _native_experts(spec, config), {}, 0
    for product in products:
        layer, is_expert, _ = product.layer.partition(".experts.")
        if is_expert and layer not in experts:
            total += sum(product.homes.values()) * product.columns * width
        else:
            total += sum(_bytes(product, rows, row, config, known) for rows, row in _parts(product, codes))
    matrices = {name for product in products for name in product.homes}
    wide = 4 if is_native and width < 4 else 0                # kernels have vectors as float32, beside the parameters
    return total + sum(prod(shape) * (width + (wide if len(shape) == 1 else 0))
                       for name, shape in shapes.items() if name not in matrices)


def stored_codes(spec: DecoderSpec, shapes: Mapping[str, tuple[int, ...]], checkpoint: Checkpoint | None) -> Codes:
    """{home: a row in the format of its codes} of the matrices that stay codes where their kernel takes them."""
    if checkpoint is None or checkpoint.is_dummy:
        return {}
    router, found = Router(names_in(checkpoint, spec)), {}
    for name in checkpoint.tensors:
        row = checkpoint.code_row(name)
        route = None if row is None else router.route(name)
        if route is not None and has_rows(route.layout):
            found |= dict.fromkeys(route.homes, row)
    if HEAD not in shapes and HEAD in found:                  # one table, stored under either name
        found.setdefault(EMBEDDING, found.pop(HEAD))
    mixed = _mixed_experts(found, shapes)
    return {name: row for name, row in found.items() if _experts_matrix(name) not in mixed}


def _experts_matrix(name: str) -> tuple[str, bool] | None:
    """(layer, is it down) of an expert's matrix: all of a layer's are codes of one format, or floats."""
    layer, is_expert, rest = name.partition(".experts.")
    return (layer, rest.endswith("down.weight")) if is_expert else None


def _mixed_experts(codes: Codes, shapes: Mapping[str, tuple[int, ...]]) -> set[tuple[str, bool]]:
    formats: dict[tuple[str, bool], set] = {}
    for name in shapes:
        key = _experts_matrix(name)
        if key is not None:
            formats.setdefault(key, set()).add(codes[name].format if name in codes else None)
    return {key for key, kinds in formats.items() if len(kinds) > 1}


def _native_experts(spec: DecoderSpec, config: EngineConfig) -> set[str]:
    """Stems of the layers whose experts the native kernel computes."""
    dtype, method = getattr(torch, config.model.dtype), weight_only(at_load(config.load.quantization))
    found = set()
    for i, block in enumerate(spec.blocks):
        if isinstance(block.ffn, MoESpec):
            case = MoECase(device="cpu", dtype=dtype, hidden_size=spec.hidden_size, isa=config.cpu_isa,
                           intermediate_size=block.ffn.expert.intermediate_size, act=block.ffn.expert.act,
                           quantization=method)
            if choose_moe(case).name == "native":
                found.add(f"blocks.{i}.ffn")
    return found


def _products(shapes: Mapping[str, tuple[int, ...]]) -> list[_Product]:
    """The matrices that products are made of, those of one product together."""
    found: dict[tuple[str, str], _Product] = {}
    for name, shape in shapes.items():
        stem, _, kind = name.rpartition(".")
        layer, _, part = stem.rpartition(".")
        if kind == "weight" and len(shape) == 2 and not part.endswith("norm") and part != "positions":
            key = layer, _FUSED.get(part, part)
            found.setdefault(key, _Product(*key, shape[1], {})).homes[name] = shape[0]
    return list(found.values())


def _parts(product: _Product, codes: Codes) -> list[tuple[int, QuantizedWeight | None]]:
    """(rows, a row of the codes) of the pieces that a product's matrices are packed as."""
    rows = [codes.get(name) for name in product.homes]
    if len({None if row is None else row.format for row in rows}) == 1:
        return [(sum(product.homes.values()), rows[0])]
    if product.part == "gate_up":                             # halves of a gate in two formats become floats
        return [(sum(product.homes.values()), None)]
    return list(zip(product.homes.values(), rows, strict=True))


def _bytes(product: _Product, rows: int, row: QuantizedWeight | None, config: EngineConfig, known: dict) -> int:
    """Of a piece; known: the answers so far, because many are alike."""
    method = None if product.part in _EXACT else at_load(config.load.quantization)
    if f"{product.layer}.{product.part}" in ("embedding.tokens", ".head") or ".experts." in product.layer:
        method, row = weight_only(method), None if row is None else row.weight_only()
    key = (rows, product.columns, method, None if row is None else row.format)
    if key not in known:
        known[key] = product_bytes(LinearCase(
            device="cpu", dtype=getattr(torch, config.model.dtype), in_features=product.columns, out_features=rows,
            isa=config.cpu_isa, quantization=method), row)
    return known[key]
