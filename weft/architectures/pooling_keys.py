"""`PoolingKeys`: what a config says about pooling, read by the same reader as the rest of a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.architectures.classifiers import Labels, read_labels
from weft.architectures.reader import ConfigReader


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingKeys:
    """What a config says about pooling. labels: of a classifier, else None. settings: fields of a PoolerConfig."""

    is_matryoshka: bool
    dimensions: tuple[int, ...]
    is_causal: bool
    settings: Mapping[str, Any]
    labels: Labels | None


def read_pooling_keys(c: ConfigReader, *, classifies: bool) -> PoolingKeys:
    """The keys of a config. ConfigError names one that cannot be."""
    sizes = c.list("matryoshka_dimensions", default=None)
    if sizes is not None and not all(type(size) is int and size > 0 for size in sizes):
        raise c.error("matryoshka_dimensions", sizes, "a list of sizes (integers of at least 1)")
    return PoolingKeys(
        is_matryoshka=c.bool("is_matryoshka", default=False) or bool(sizes), dimensions=tuple(sizes or ()),
        is_causal=c.bool("is_causal", default=True), settings=c.dict("pooler_config", default=None) or {},
        labels=read_labels(c) if classifies else None)
