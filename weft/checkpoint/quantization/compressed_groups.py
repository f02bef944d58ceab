"""`config_groups` of compressed-tensors: a group's modules, and how their weights and activations are quantized."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.architectures.reader import ConfigReader
from weft.checkpoint.quantization.module_names import matching, name_list
from weft.checkpoint.tensor_info import TensorInfo

# format -> {type of the weights: kind of layout}.
_KINDS = {
    "pack-quantized": {"int": "packed"},
    "int-quantized": {"int": "int8"},
    "naive-quantized": {"int": "int8", "float": "float8"},
    "float-quantized": {"float": "float8"},
    "nvfp4-pack-quantized": {"float": "nvfp4"},
}
_BITS = {"packed": (2, 4, 8), "int8": (4, 8), "float8": (8,), "nvfp4": (4,)}
_CLASS = re.compile(r"[A-Z]\w*")
_LINEAR = "Linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """How a group's inputs are quantized, according to the settings."""

    bits: int
    type: str
    strategy: str
    is_dynamic: bool
    is_symmetric: bool

    @property
    def is_int8_by_token(self) -> bool:
        """Symmetric 8-bit integers with a scale per token computed at run time, as weft's integer products need."""
        return self == Activations(bits=8, type="int", strategy="token", is_dynamic=True, is_symmetric=True)

    def __str__(self) -> str:
        return (f"{self.bits}-bit {self.type}, strategy {self.strategy}, {'dynamic' if self.is_dynamic else 'static'}, "
                f"{'symmetric' if self.is_symmetric else 'asymmetric'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One entry of config_groups.

    targets: names, patterns, or classes of modules; "Linear" means any matrix. kind: packed, int8, float8 or nvfp4.
    group_size: columns that share a scale; None: a scale for a row or for the matrix. block: (rows, columns) that share
    a scale.
    """

    targets: tuple[str, ...]
    kind: str
    bits: int
    is_symmetric: bool
    group_size: int | None
    block: tuple[int, int] | None
    activations: Activations | None

    @property
    def int8_activations(self) -> bool:
        """Whether products are computed in integers: symmetric 8-bit codes, one scale per row, and activations that are
        `is_int8_by_token`.
        """
        has_bytes = self.kind == "int8" or (self.kind == "packed" and self.bits == 8)
        return (has_bytes and self.is_symmetric and self.group_size is None and self.activations is not None
                and self.activations.is_int8_by_token)

    def block_of(self, stored: Mapping[str, TensorInfo]) -> tuple[int, int] | None:
        """The (rows, columns) that share a scale; a group is a block of one row."""
        return (1, self.group_size) if self.group_size is not None else self.block


def of(stem: str, groups: tuple[Group, ...]) -> Group | None:
    """The group of a module, or None. A group that names the module wins over one that names its class."""
    for group in groups:
        if matching(stem, tuple(target for target in group.targets if not _CLASS.fullmatch(target))):
            return group
    return next((group for group in groups if _LINEAR in group.targets), None)


def read(c: ConfigReader) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """(groups, patterns of ignored modules). ConfigError names the key that cannot be used."""
    c.harmless("quant_method", "quantization_status", "global_compression_ratio", "kv_cache_scheme", "version",
               "dequantize")
    sparsity = c.sub("sparsity_config") if c.dict("sparsity_config", default={}) else None
    if sparsity is not None:
        sparsity.harmless("registry_requires_subclass", "sparsity_structure", "global_sparsity", "targets", "ignore")
        sparsity.expect("format", "dense", default="dense")
    transforms = c.dict("transform_config", default={})
    if transforms.get("config_groups"):
        raise c.error("transform_config", transforms, "none: weft does not rotate activations")
    form = c.choice("format", allowed=(*_KINDS, "mixed-precision"), default=None)
    names = c.dict("config_groups")
    groups = c.sub("config_groups")
    return tuple(_group(groups.sub(name), form) for name in names), name_list(c, "ignore")


def _group(c: ConfigReader, form: str | None) -> Group:
    c.harmless("output_activations")
    own = c.choice("format", allowed=tuple(_KINDS), default=None if form == "mixed-precision" else form)
    if own is None:
        raise c.error("format", None, f"one of {', '.join(_KINDS)}")
    weights = c.sub("weights")
    weights.harmless("observer", "observer_kwargs", "actorder", "scale_dtype", "zp_dtype")
    kinds = _KINDS[own]
    kind = kinds[weights.choice("type", allowed=tuple(kinds), default=next(iter(kinds)))]
    bits = weights.int("num_bits", default=_BITS[kind][-1])
    if bits not in _BITS[kind]:
        raise weights.error("num_bits", bits, f"{' or '.join(map(str, _BITS[kind]))} with {own}")
    weights.expect("dynamic", False, default=False)
    is_symmetric = weights.bool("symmetric", default=True)
    if kind not in ("packed", "int8") and not is_symmetric:
        raise weights.error("symmetric", False, f"true with {own}")
    group_size, block = _sharing(weights, kind)
    return Group(targets=name_list(c, "targets"), kind=kind, bits=bits, is_symmetric=is_symmetric,
                 group_size=group_size, block=block, activations=_activations(c))


def _sharing(c: ConfigReader, kind: str) -> tuple[int | None, tuple[int, int] | None]:
    """(group size, block) of the weights' scales."""
    size = c.int("group_size", default=None)
    size = None if size == -1 else size
    block = c.list("block_structure", default=None)
    allowed = {"nvfp4": ("tensor_group",), "float8": ("tensor", "channel", "group", "block")}.get(
        kind, ("tensor", "channel", "group"))
    default = "tensor_group" if kind == "nvfp4" else "group" if size else "tensor"
    match c.choice("strategy", allowed=allowed, default=default):
        case "group" | "tensor_group":
            if size is None or size < 1:
                raise c.error("group_size", size, "at least 1")
            if kind == "nvfp4" and size != 16:
                raise c.error("group_size", size, "16")
            return size, None
        case "block":
            if block is None or len(block) != 2 or not all(isinstance(n, int) and n >= 1 for n in block):
                raise c.error("block_structure", block, "rows and columns, e.g. [128, 128]")
            return None, (block[0], block[1])
    return None, None


def _activations(c: ConfigReader) -> Activations | None:
    if not c.dict("input_activations", default=None):
        return None
    found = c.sub("input_activations")
    found.harmless("observer", "observer_kwargs", "actorder", "block_structure", "group_size", "scale_dtype",
                   "zp_dtype")
    return Activations(bits=found.int("num_bits", default=8),
                       type=found.choice("type", allowed=("int", "float"), default="int"),
                       strategy=found.str("strategy", default="tensor"),
                       is_dynamic=found.expect("dynamic", False, True, "local") is not False,
                       is_symmetric=found.bool("symmetric", default=True))
