"""Names of the tensors of a pooling model: those of its family's body, and those of its pooler's layers."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence

from weft.architectures.names import NameMap, Rule
from weft.architectures.pooling_spec import HeadLayerSpec, PoolerSpec
from weft.architectures.spec import EncoderSpec, ModelSpec
from weft.checkpoint.loader import filling
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.routing import Router


def pooling_names(names: NameMap, spec: ModelSpec, poolers: Sequence[PoolerSpec],
                  stored: Container[str] = ()) -> NameMap:
    """A family's names without the head for tokens, and with the layers of the model's poolers.

    stored: the checkpoint's tensors, which say under which of its names a layer is stored. Tensors of the head for
    tokens, and of a classifier that the model is not built with, may be there and are not loaded.
    """
    own = tuple(Rule(name, (f"{home_prefix(one, poolers)}{head}.{i}",)) for one in poolers
                for head, layers in one.heads.items() for i, layer in enumerate(layers)
                for name in _names_stored(layer, stored) if "/" not in name)
    used = {rule.source for rule in own}
    unused = tuple(name for name in dict.fromkeys(_known(spec, poolers)) if name not in used)
    of_tokens = tuple(rule.source for rule in names.rules
                      if any(target.startswith("head") for target in rule.targets))
    body = tuple(rule for rule in names.rules if rule.source not in of_tokens)
    return NameMap(rules=own + body, optional_prefix=names.optional_prefix, ignored=names.ignored + of_tokens + unused,
                   ignored_prefixes=names.ignored_prefixes, by_row=names.by_row)


def home_prefix(pooler: PoolerSpec, poolers: Sequence[PoolerSpec]) -> str:
    """The beginning of its homes' names in the model."""
    return "pooler." if len(poolers) == 1 else f"pooler.{pooler.task}."


def _known(spec: ModelSpec, poolers: Sequence[PoolerSpec]) -> list[str]:
    """Stems of the layers that checkpoints of the family may have for a classifier or a pooler."""
    layers = [layer for one in poolers for head in one.heads.values() for layer in head]
    layers += [layer for head in (spec.sequence_classifier, spec.token_classifier) if head for layer in head.layers]
    layers += spec.lm_head if isinstance(spec, EncoderSpec) else ()
    return [*(name for layer in layers for name in layer.names), "score", "classifier"]


def _names_stored(layer: HeadLayerSpec, stored: Container[str]) -> list[str]:
    """The stems of a layer without those whose tensors are stored under an earlier stem, too."""
    kept, seen = [], set()
    for name in layer.names:
        here = {suffix for suffix in (".weight", ".bias") if f"{name}{suffix}" in stored}
        if not here or here - seen:
            kept.append(name)
        seen |= here
    return kept


def tied_homes(checkpoint: Checkpoint, names: NameMap, poolers: Sequence[PoolerSpec]) -> list[str]:
    """Homes of the last matrices of heads that a checkpoint has none for: they are the embedding's table."""
    router = Router(names)
    homes = [f"{home_prefix(one, poolers)}token_layers.{len(one.token_layers) - 1}.weight"
             for one in poolers if one.token_layers]
    return [home for home in homes if not checkpoint.is_dummy and filling(checkpoint, router, home) is None]


def has_bias(layer: HeadLayerSpec, stored: Collection[str]) -> bool:
    """Whether a checkpoint has a bias for a layer of a head whose spec leaves that open."""
    return any(f"{name}.bias" in stored for name in layer.names)
