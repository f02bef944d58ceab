"""Whether `load_weights` of a programmed model did its work: every parameter filled, every tensor used."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from torch import nn

from weft.checkpoint.reader import Checkpoint, same_content
from weft.errors import CheckpointError
from weft.layers.public.layer import PublicLayer
from weft.models.programmed.reading import Reading

logger = logging.getLogger("weft")

# Tables that older checkpoints have and models compute: rotary positions, position ids, causal masks.
_TABLES = re.compile(r"(rotary_emb\.(cos_cached|sin_cached)|position_ids|\.masked_bias|inv_freq|[kv]_scale)$")
_MASK = re.compile(r"\.attn(ention)?\.bias$")
_LAYER = re.compile(r"(?:layers|blocks|h)\.(\d+)")


def check_filled(model_name: str, model: nn.Module, loaded: Container[str] | None) -> None:
    """CheckpointError for parameters that nothing filled.

    loaded: what load_weights returned. weft's layers know themselves what they lack; of other modules' parameters only
    `loaded` tells, and None tells nothing.
    """
    empty = []
    for prefix, module in model.named_modules():
        if isinstance(module, PublicLayer):
            names = [f"{prefix}.{name}" for name in module.missing()]
        else:
            names = [] if loaded is None else [name for name, _ in module.named_parameters(prefix, recurse=False)]
        empty += [name for name in names if loaded is None or name not in loaded]
    if empty:
        raise CheckpointError(f"{model_name}.load_weights filled nothing into {_shown(empty)}: the checkpoint lacks "
                              "them, or load_weights passes over their tensors.")


def check_used(model_name: str, reading: Reading, hf_config: Mapping[str, Any]) -> None:
    """CheckpointError for tensors that nothing took.

    Left out without an error are computed tables, equal copies of a tensor that was taken (a tied head), layers for
    multi-token prediction, and, with a warning, a whole part of the checkpoint: several tensors under a name that has
    no layer's number and of which nothing was taken (a vision tower), or the last layers of a tower.
    """
    roots: dict[str, list[str]] = {}
    taken = {prefix for name in reading.used for prefix in _prefixes(name)}
    for name in reading.checkpoint.tensors.keys() - reading.used:
        if not _may_be_left_out(name, reading, hf_config):
            roots.setdefault(next(prefix for prefix in _prefixes(name) if prefix not in taken), []).append(name)
    parts = {root for root, names in roots.items() if len(names) > 1 and not re.search(r"\d", root)}
    parts |= set(_ends_of_towers(roots, reading.used, hf_config))
    if parts:
        logger.warning("%s takes nothing of these parts of the checkpoint: %s.", model_name, ", ".join(sorted(parts)))
    lost = sorted(name for root, names in roots.items() if root not in parts for name in names)
    if lost:
        raise CheckpointError(f"{model_name}.load_weights took nothing from {_shown(lost)}: the model has no "
                              "parameter for them, or load_weights passes over them. What a model computes without is "
                              "left out by skip_prefixes of AutoWeightsLoader, or by a WeightsMapper's rule that "
                              "leads to None.")


def _ends_of_towers(roots: Iterable[str], used: set[str], hf_config: Mapping[str, Any]) -> Iterator[str]:
    """The roots that are layers behind all that were taken of their stack, where the text model has all its layers."""
    text = hf_config.get("text_config")
    if not isinstance(text, Mapping):
        return
    stacks: dict[str, set[int]] = {}
    for name in used:
        for layer in _LAYER.finditer(name):
            stacks.setdefault(name[: layer.start(1) - 1], set()).add(int(layer.group(1)))
    wanted = set(range(text.get("num_hidden_layers", 0)))
    for root in roots:
        own, _, number = root.rpartition(".")
        if number.isdigit() and int(number) > max(stacks.get(own, {-1})) and any(
                layers == wanted for stack, layers in stacks.items() if stack != own):
            yield root


def _may_be_left_out(name: str, reading: Reading, hf_config: Mapping[str, Any]) -> bool:
    checkpoint = reading.checkpoint
    if _TABLES.search(name) or checkpoint.is_spare(name):
        return True
    if _MASK.search(name) and len(checkpoint.tensors[name].shape) == 4:
        return True
    layer, more = _LAYER.search(name), hf_config.get("num_nextn_predict_layers")
    if layer and more and int(layer.group(1)) >= hf_config.get("num_hidden_layers", 0):
        return True
    return not re.search(r"\d", name) and _is_copy(name, reading.used, checkpoint)


def _is_copy(name: str, used: set[str], checkpoint: Checkpoint) -> bool:
    shape = checkpoint.tensors[name].shape
    return any(same_content(checkpoint, name, other) for other in used
               if checkpoint.tensors[other].shape == shape and not re.search(r"\d", other))


def _prefixes(name: str) -> list[str]:
    """"a", "a.b" and "a.b.c" of "a.b.c"."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def _shown(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
