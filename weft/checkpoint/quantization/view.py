"""`QuantizedCheckpoint`: a view of a quantized checkpoint as the float weights that it represents.

A group of stored tensors (.qweight, .scales ...) appears as one tensor, with the name, shape and dtype that it would
have in a float checkpoint. So the code that routes, checks and copies tensors needs to know nothing of groups.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weft.checkpoint.grouping import group_names
from weft.checkpoint.quantization.layout import Format, Layout, Misfit
from weft.checkpoint.quantization.matrix import Matrix, QuantizedMatrix
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.tensor_info import TensorInfo
from weft.errors import CheckpointError
from weft.ops.quantized import QuantizedWeight

# Scales of quantized attention and of a quantized KV cache, which weft does not use.
_CACHE_SCALES = (".k_scale", ".v_scale", ".q_scale", ".kv_scale", ".prob_scale", ".k_proj.output_scale",
                 ".v_proj.output_scale", ".k_zero_point", ".v_zero_point", "_fake_quantizer.qscale_act")
_MAX_LINES = 40


@dataclass(frozen=True, slots=True)
class _Group:
    """The stored tensors of one weight. members: {suffix: stored name}."""

    layout: Layout
    members: dict[str, str]


class QuantizedCheckpoint(Checkpoint):
    """A checkpoint whose groups of quantized tensors are single weights.

    tensors: all weights; those of groups have the dtype `dtype`. cache_scales: stored names that are left out.
    CheckpointError when a group lacks a tensor, or a tensor has a shape or dtype that does not fit the format.
    """

    def __init__(self, stored: Checkpoint, form: Format, dtype: torch.dtype) -> None:
        self._files, self._dtype, self.method = stored, dtype, form.method
        self.cache_scales = tuple(name for name in stored.tensors if name.endswith(_CACHE_SCALES))
        self._groups: dict[str, _Group] = {}
        super().__init__(stored.path, is_mistral=stored.is_mistral)
        self.tensors = self._view(form)

    @property
    def files(self) -> tuple[Path, ...]:
        return self._files.files

    def read(self, names: Collection[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) of all or some weights, one at a time; groups are dequantized."""
        for name, value in self._decoded(self.tensors.keys() if names is None else names):
            yield name, value if isinstance(value, Tensor) else value.dequantize(self._dtype)

    def has_codes(self, name: str) -> bool:
        return name in self._groups and self._groups[name].layout.has_codes

    def code_row(self, name: str) -> QuantizedWeight | None:
        layout = self._groups[name].layout if name in self._groups else None
        if layout is None or layout.codes is None:
            return None
        return layout.codes.row(layout.shape[-1], int8_activations=layout.int8_activations)

    def has_int8_activations(self, name: str) -> bool:
        return name in self._groups and self._groups[name].layout.int8_activations

    def quantized(self, name: str) -> QuantizedWeight | None:
        """A weight as integer codes; None for a weight without codes, or with reordered columns."""
        value = self.decoded(name)
        return value.packable() if isinstance(value, QuantizedMatrix) and value.columns is None else None

    def decoded(self, name: str) -> Matrix | None:
        """A weight in its stored form; None for a weight that is no group."""
        value = next(self._decoded([name]))[1] if name in self._groups else None
        return None if isinstance(value, Tensor) else value

    def stored(self, name: str) -> Tensor:
        """A weight as floats; a group is dequantized."""
        return next(self.read([name]))[1]

    def release(self, name: str, tensor: Tensor) -> None:
        if name not in self._groups:
            self._files.release(name, tensor)

    def is_spare(self, name: str) -> bool:
        """True for an all-zero bias of a quantized matrix, which some quantizers write for every linear layer."""
        weight = f"{name.removesuffix('.bias')}.weight"
        return name.endswith(".bias") and weight in self._groups and not dict(self.read([name]))[name].any()

    def cost(self, as_codes: Collection[str] = ()) -> str:
        """As in `Checkpoint`, with notes on settings without quantized tensors and on unused scales."""
        notes = [super().cost(as_codes)]
        if not self._groups:
            notes.append(f"{self.path}: quantized by {self.method}, its settings say, but no tensor is.")
        if self.cache_scales:
            notes.append(f"{len(self.cache_scales)} scales of a quantized cache are not used.")
        return " ".join(filter(None, notes))

    def _view(self, form: Format) -> dict[str, TensorInfo]:
        """The weights in the order of the files. Fills `_groups`."""
        left_out = set(self.cache_scales)
        stems = _by_stem(form, {name: info for name, info in self._files.tensors.items() if name not in left_out})
        facts = self._facts(form, stems)
        tensors, misfits = {}, []
        for stem, members in stems.items():
            known = {suffix: facts[info.name] for suffix, info in members.items() if info.name in facts}
            first = next(iter(members.values()))
            try:
                layout = form.layout(stem, members, known) if members.keys() <= set(form.suffixes) else None
            except Misfit as misfit:
                misfits.append((stem, str(misfit), first.file))
                continue
            if layout is None:
                tensors |= {info.name: info for info in members.values()}
                continue
            name = stem + form.whole
            self._groups[name] = _Group(layout, {suffix: info.name for suffix, info in members.items()})
            tensors[name] = TensorInfo(name, tuple(layout.shape), self._dtype, first.file, self.method,
                                       sum(info.num_bytes for info in members.values()))
        if misfits:
            lines = [str(group) for group in group_names(misfits)]
            more = [f"  … and {len(lines) - _MAX_LINES} more lines"] if len(lines) > _MAX_LINES else []
            which = "1 matrix is" if len(misfits) == 1 else f"{len(misfits)} matrices are"
            raise CheckpointError(f"{self.path}: {which} not stored as {form.method} and its settings say:\n"
                                  + "\n".join([*lines[:_MAX_LINES], *more]))
        return tensors

    def _facts(self, form: Format, stems: Mapping[str, Mapping[str, TensorInfo]]) -> dict[str, Tensor]:
        """{stored name: content} of the small tensors that a layout depends on."""
        names = {info.name for members in stems.values() for suffix, info in members.items() if suffix in form.facts}
        large = next((name for name in names if self._files.tensors[name].num_bytes > 4096), None)
        if large is not None:
            info = self._files.tensors[large]
            raise CheckpointError(f"{info.file}: {large} is {info.dtype_name} {list(info.shape)}, which is too large "
                                  "for what it is to say.")
        return {name: tensor.clone() for name, tensor in self._files.read(names)}

    def _decoded(self, names: Collection[str]) -> Iterator[tuple[str, Tensor | Matrix]]:
        """Decode in one pass over the files; a group is decoded when its last tensor is read.

        Waiting tensors that are memory-mapped take no memory.
        """
        grouped = [name for name in names if name in self._groups]
        owner = {member: name for name in grouped for member in self._groups[name].members.values()}
        plain = set(names) - self._groups.keys()
        waiting: dict[str, dict[str, Tensor]] = {}
        for stored, tensor in self._files.read(plain | owner.keys()):
            name = owner.get(stored)
            if name is None:
                yield stored, tensor
                continue
            group, held = self._groups[name], waiting.setdefault(name, {})
            held[stored] = tensor
            if len(held) == len(group.members):
                yield name, group.layout.decode({suffix: held[member] for suffix, member in group.members.items()})
                for member, part in waiting.pop(name).items():
                    self._files.release(member, part)


def _by_stem(form: Format, tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, TensorInfo]]:
    """{stem: {suffix: tensor}}. A name without one of the format's suffixes is a stem with the suffix ""."""
    suffixes = sorted(form.suffixes, key=len, reverse=True)
    stems: dict[str, dict[str, TensorInfo]] = {}
    for name, info in tensors.items():
        suffix = next((suffix for suffix in suffixes if name.endswith(suffix)), "")
        stems.setdefault(name.removesuffix(suffix), {})[suffix] = info
    return stems
