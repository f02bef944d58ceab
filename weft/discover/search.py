"""`Search`: looks at many tiny models of a class, and makes one description of what it finds in each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.discover.ends import FoundEnds, find_ends
from weft.discover.found import Winners
from weft.discover.naming import CheckpointNames, Target, stem_with_index
from weft.discover.no_part import NoPartError
from weft.discover.tiny import config_of, make_model, shrunk
from weft.discover.traced import Traced
from weft.discover.variants import Variant, split, variants
from weft.discover.wiring import FoundBlock, find_block
from weft.resolve.config_file import normalise


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What was found in the model of one config. names: its checkpoint's rules. unused: stems of stored tensors that
    change nothing.
    """

    c: ConfigReader
    ends: FoundEnds
    blocks: tuple[FoundBlock, ...]
    names: Mapping[str, Target]
    unused: frozenset[str]


@dataclass(slots=True)
class Search:
    """A search for one class. values: of a config. seen: what was found, the first config's first.

    refused: {key: (its value, why another cannot be described)}. harmless: keys that change no number.
    accepted: {key: another value that it may have}. tiny: the first config.
    """

    cls: Any
    values: Mapping[str, Any]
    seen: list[Observation] = field(default_factory=list)
    refused: dict[str, tuple[Any, NoPartError]] = field(default_factory=dict)
    harmless: set[str] = field(default_factory=set)
    accepted: dict[str, Any] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)
    _winners: Winners = field(default_factory=Winners)
    _logits: Tensor | None = None

    def run(self) -> None:
        """Look at all variants. NoPartError when the first has a piece without a part, or no class can be made."""
        config = config_of(self.cls, shrunk(self.values))
        self.tiny = {key: value for key, value in config.to_dict().items() if key not in ("architectures", "dtype")}
        first, *others = variants(self.tiny)
        self._logits = self._look(first)
        while others:
            variant = others.pop(0)
            if not variant.changed:
                continue
            try:
                self._look(variant)
                if len(variant.changed) == 1:
                    self.accepted[variant.changed[0]] = variant.values[variant.changed[0]]
            except NoPartError as error:
                if len(variant.changed) == 1:
                    (key,) = variant.changed
                    self.refused[key] = (self.tiny[key], error)
                others = split(variant, self.tiny) + others
            except Exception:                    # the class refuses these values: files cannot have them
                others = split(variant, self.tiny) + others

    @torch.no_grad()
    def _look(self, variant: Variant) -> Tensor:
        """Look at one variant; its logits."""
        config = config_of(self.cls, variant.values)
        given = config.to_dict() | {"architectures": [self.cls.__name__]}
        c = ConfigReader(normalise(given, {}, "config.json", {}).values, source="config.json")
        model = make_model(self.cls, config, self.cls.__name__)
        t = Traced(model, c)
        logits, first = t.trace.logits, self._logits
        if first is not None and len(variant.changed) == 1 and torch.equal(logits, first):
            self.harmless.add(variant.changed[0])
            known = self.seen[0]
            self.seen.append(Observation(c, known.ends, known.blocks, known.names, known.unused))
            return logits
        ends = find_ends(t)
        blocks = tuple(find_block(t, layer, self._winners) for layer in range(len(t.layers)))
        names, unused = checkpoint_names(t, ends, blocks)
        self.seen.append(Observation(c, ends, blocks, names, unused))
        return logits


def save(model: Any, folder: str | Path) -> None:
    """Write a model's checkpoint, without a progress bar."""
    from transformers.utils import logging

    has_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    finally:
        if has_bar:
            logging.enable_progress_bar()


def checkpoint_names(t: Traced, ends: FoundEnds,
                     blocks: tuple[FoundBlock, ...]) -> tuple[Mapping[str, Target], frozenset[str]]:
    """(rules, stems of tensors that no part takes) of the checkpoint that a model writes."""
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as folder:
        save(t.model, folder)
        stored = {name: x for path in Path(folder).glob("*.safetensors") for name, x in load_file(path).items()}
    names = CheckpointNames(t.model, stored)
    for layer, block in enumerate(blocks):
        names.add(block.taken, layer)
    names.add(ends.taken, None)
    unused = names.unused()
    left = [name for name, _ in t.model.named_parameters() if stem_with_index(name) in unused and t.runs(name)]
    if left:
        raise NoPartError(left[0], "a parameter that no part has")
    return names.rules, frozenset(unused)
