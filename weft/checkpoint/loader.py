"""`open_weights` opens a model's checkpoint. `load_weights` copies each of its tensors to its home.
`check_weights` finds the same faults from the files' headers alone.

A home is the place in the model that a checkpoint's tensor goes to (`layers/layer.py`). Names, shapes and dtypes are
checked first: if anything does not fit, nothing is copied, and the error lists all faults.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from weft.architectures.names import NameMap
from weft.checkpoint.dummy import fill_dummy
from weft.checkpoint.quantization.registry import read_format
from weft.checkpoint.quantization.view import QuantizedCheckpoint
from weft.checkpoint.reader import PIECE_BYTES, Checkpoint, open_checkpoint, same_content
from weft.checkpoint.report import Faults, LoadReport
from weft.checkpoint.routing import Route, Router, has_rows, matches, quantized_parts, split_suffix, take_apart
from weft.checkpoint.tensor_info import TensorInfo
from weft.config.engine_config import LoadConfig, ModelConfig
from weft.errors import CheckpointError
from weft.layers.layer import WEIGHT_DTYPES, Home
from weft.layers.shard import Span
from weft.ops.quantized import QuantizedWeight

logger = logging.getLogger("weft")

EMBEDDING, HEAD, HEAD_BIAS = "embedding.tokens.weight", "head.weight", "head.bias"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The checked routes. routes: {tensor name: route to its homes}. ignored: names of tensors that are not read."""

    routes: dict[str, Route]
    ignored: tuple[str, ...]


def open_weights(model: ModelConfig, load: LoadConfig) -> Checkpoint:
    """The model's checkpoint. A quantized one is viewed as the weights that it represents, in the model's dtype.

    ConfigError for quantization settings that cannot be used, CheckpointError for files that do not fit them.
    """
    dtype = getattr(torch, model.dtype)
    form = None if model.quantization is None else read_format(model.quantization)
    checkpoint = open_checkpoint(Path(model.path), load.load_format, dtype)
    if form is None or checkpoint.is_dummy:
        return checkpoint
    return QuantizedCheckpoint(checkpoint, form, dtype)


class WeightSink(Protocol):
    """Receives weights while a model is loaded (implemented in `layers/finishing.py`)."""

    def takes_codes(self, home: str, *, int8_activations: bool = False) -> bool:
        """Whether a home takes integer codes (quantized values) instead of floats. int8_activations: as in
        QuantizedWeight.
        """
        ...

    def take(self, home: str, weight: QuantizedWeight) -> None:
        """Receive the codes for a home, already cut to its part of the whole tensor."""

    def loaded(self, home: str) -> None:
        """A home was filled with floats; the loader holds no reference to it any more."""


def load_weights(homes: dict[str, Home], checkpoint: Checkpoint, names: NameMap, *, use_tqdm: bool = True,
                 sink: WeightSink | None = None) -> LoadReport:
    """Fill `homes` ({part name + suffix: home}) from a checkpoint, each with its part of a whole tensor.

    A home with several names (a head that shares the embedding's table) is filled once; the checkpoint may have equal
    tensors for the other names. The loader drops each view as soon as it is filled.
    CheckpointError: tensors without a home, homes without a tensor, clashes of shape or dtype, all in one report.
    """
    started = time.perf_counter()
    tied = EMBEDDING in homes and HEAD in homes and homes[EMBEDDING].place == homes[HEAD].place
    own_names = _own_names(homes)
    homes = _by_row({name: home for name, home in homes.items() if own_names[name] == name}, names)
    if checkpoint.is_dummy:
        fill_dummy({name: home.view for name, home in homes.items()})
        seconds = time.perf_counter() - started
        return LoadReport(num_tensors=0, num_bytes=0, seconds=seconds, files=(), is_head_tied=tied)
    plan = _plan(homes, own_names, checkpoint, Router(names))
    num_bytes = sum(checkpoint.tensors[name].num_bytes for name in plan.routes)
    as_codes = {} if sink is None else dict.fromkeys(_as_codes(plan.routes, checkpoint, sink))
    _tell_of_skipped(plan.ignored, names.ignored_prefixes)
    if cost := checkpoint.cost(as_codes):
        logger.warning("%s", cost)
    with tqdm(total=num_bytes, unit="B", unit_scale=True, desc="Loading weights", disable=not use_tqdm) as bar:
        as_numbers = {name: route for name, route in plan.routes.items() if name not in as_codes}
        for name in as_codes:
            if sink is not None and _take(homes, checkpoint, name, plan.routes[name], sink):
                bar.update(checkpoint.tensors[name].num_bytes)
            else:
                as_numbers[name] = plan.routes[name]
        _copy_all(homes, checkpoint, as_numbers, bar, sink)
    return LoadReport(num_tensors=len(plan.routes), num_bytes=num_bytes, seconds=time.perf_counter() - started,
                      files=checkpoint.files, is_head_tied=tied, ignored=plan.ignored)


def _tell_of_skipped(ignored: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
    """Log which parts of a checkpoint are not loaded. prefixes: `NameMap.ignored_prefixes`."""
    skipped = [name for name in ignored if name.startswith(prefixes)]
    if skipped:
        found = [prefix for prefix in prefixes if any(name.startswith(prefix) for name in skipped)]
        logger.info("%d tensors under %s are not loaded: parts that weft does not run for this model, such as layers "
                    "for multi-token prediction (MTP) or the heads of an encoder.", len(skipped), ", ".join(found))


def check_weights(homes: dict[str, Home], checkpoint: Checkpoint, names: NameMap) -> None:
    """The CheckpointError that `load_weights` would raise for names, shapes and dtypes. Homes need no memory."""
    if checkpoint.is_dummy:
        return
    own_names = _own_names(homes)
    own = _by_row({name: home for name, home in homes.items() if own_names[name] == name}, names)
    _plan(own, own_names, checkpoint, Router(names))


def _own_names(homes: Mapping[str, Home]) -> dict[str, str]:
    """{name of a home: the first name of the same home}."""
    first: dict[tuple[object, str], str] = {}
    return {name: first.setdefault(home.place, name) for name, home in homes.items()}


def _by_row(homes: dict[str, Home], names: NameMap) -> dict[str, Home]:
    """`homes` with those that the checkpoint stores row by row replaced by a home for each row of the whole matrix.

    Rows that belong to other shards get empty homes.
    """
    out = {}
    for name, home in homes.items():
        stem, suffix = split_suffix(name)
        if any(matches(pattern, stem) for pattern in names.by_row):
            out |= {f"{stem}.{row}{suffix}": view for row, view in enumerate(_rows_of(home))}
        else:
            out[name] = home
    return out


def _rows_of(home: Home) -> Iterator[Home]:
    """A home for each row of the whole matrix; empty for rows of other shards."""
    num_rows, width = home.whole_shape
    rows = home.rows if isinstance(home.rows, Span) else Span.of(num_rows)
    for row in range(num_rows):
        if rows.start <= row < rows.stop:
            yield Home(home.view[row - rows.start], home.layer, f"{home.part}, row {row}", rows=home.columns)
        else:
            yield Home(home.view.new_empty(0), home.layer, f"{home.part}, row {row}", rows=Span(0, 0, width))


def has_own_head(checkpoint: Checkpoint, names: NameMap, *, says_untied: bool = False) -> bool:
    """True when the checkpoint has a head that is not a copy of its embedding table.

    says_untied: the config states that there is a separate head; a checkpoint without one then counts as having it, so
    that `load_weights` reports it as missing.
    """
    router = Router(names)
    head, embedding = filling(checkpoint, router, HEAD), filling(checkpoint, router, EMBEDDING)
    if head is None or embedding is None:
        return says_untied
    return not same_content(checkpoint, head, embedding)


def filling(checkpoint: Checkpoint, router: Router, home: str) -> str | None:
    for name in checkpoint.tensors:
        route = router.route(name)
        if route is not None and home in route.homes:
            return name
    return None


def _plan(homes: dict[str, Home], own_names: Mapping[str, str], checkpoint: Checkpoint, router: Router) -> _Plan:
    """The checked routes of all tensors. CheckpointError lists every fault. own_names: `_own_names` of the homes before
    `_by_row`.
    """
    faults, routes, ignored = Faults(checkpoint.path, router), {}, []
    filled: dict[str, TensorInfo] = {}
    for info, is_second in _second_names_last(checkpoint, router, own_names):
        route = _own_route(router, info.name, own_names)
        if is_second and route is not None and (found := [filled[home] for home in route.homes if home in filled]):
            is_copy = route == _own_route(router, found[0].name, own_names)
            if not (is_copy and same_content(checkpoint, info.name, found[0].name)):
                faults.unlike.append((info, found[0]))
            ignored.append(info.name)
            continue
        if route is None and router.is_ignored(info.name):
            ignored.append(info.name)
        elif route is not None and not any(home in homes for home in route.homes) and checkpoint.is_spare(info.name):
            ignored.append(info.name)
            continue
        elif route is None or not all(home in homes for home in route.homes):
            faults.without_home.append((info, route))
        elif _fits(homes, info, route, faults):
            routes[info.name] = route
        for home in route.homes if route is not None else ():
            if home in filled:
                faults.filled_twice.append((filled[home], info, home))
            filled[home] = info
    faults.without_tensor.extend((name, home.whole_shape) for name, home in homes.items()
                                if name not in filled and not home.is_optional)
    if faults:
        raise CheckpointError(faults.text())
    return _Plan(routes, tuple(ignored))


def _own_route(router: Router, name: str, own_names: Mapping[str, str]) -> Route | None:
    """A tensor's route, with each home under its first name; None without a route."""
    route = router.route(name)
    return None if route is None else replace(route, homes=tuple(own_names.get(home, home) for home in route.homes))


def _second_names_last(checkpoint: Checkpoint, router: Router,
                       own_names: Mapping[str, str]) -> list[tuple[TensorInfo, bool]]:
    """(tensor, whether it is for another than the first name of a home) for all tensors; such tensors come last."""
    found = [(info, router.route(name) != _own_route(router, name, own_names))
             for name, info in checkpoint.tensors.items()]
    return sorted(found, key=lambda entry: entry[1])


def _fits(homes: dict[str, Home], info: TensorInfo, route: Route, faults: Faults) -> bool:
    targets = [homes[name] for name in route.homes]
    if info.dtype not in WEIGHT_DTYPES:
        faults.dtypes.append((info, route.homes[0], targets[0].view.dtype))
        return False
    try:
        parts = take_apart(route.layout, torch.empty(info.shape, dtype=info.dtype, device="meta"), _num_rows(targets))
    except ValueError as error:
        faults.shapes.append((info, " + ".join(route.homes), str(error)))
        return False
    for name, home, part in zip(route.homes, targets, parts, strict=True):
        if home.whole_shape != tuple(part.shape):
            faults.shapes.append((info, name, f"the model has {list(home.whole_shape)}"))
            return False
    return True


def _num_rows(homes: Iterable[Home]) -> list[int]:
    """For each home, the number of rows of the whole tensor that it is a part of."""
    return [home.whole_shape[0] if home.view.dim() else 1 for home in homes]


def _as_codes(routes: dict[str, Route], checkpoint: Checkpoint, sink: WeightSink) -> list[str]:
    """Names of the quantized tensors whose homes all take codes."""
    return [name for name, route in routes.items() if checkpoint.has_codes(name) and has_rows(route.layout)
            and all(sink.takes_codes(home, int8_activations=checkpoint.has_int8_activations(name))
                    for home in route.homes)]


def _take(homes: dict[str, Home], checkpoint: Checkpoint, name: str, route: Route, sink: WeightSink) -> bool:
    """Give a tensor's codes to its homes. Returns False if reading shows reordered columns (GPTQ's g_idx)."""
    weight = checkpoint.quantized(name)
    if weight is None:
        return False
    targets = [homes.pop(home) for home in route.homes]
    parts = quantized_parts(route.layout, weight, checkpoint.tensors[name].shape, _num_rows(targets))
    for home, target, part in zip(route.homes, targets, parts, strict=True):
        sink.take(home, target.cut_codes(part))
    return True


@torch.no_grad()
def _copy_all(homes: dict[str, Home], checkpoint: Checkpoint, routes: dict[str, Route], bar: tqdm,
              sink: WeightSink | None) -> None:
    for name, tensor in checkpoint.read(routes.keys()):
        targets = [homes.pop(home) for home in routes[name].homes]
        parts = take_apart(routes[name].layout, tensor, _num_rows(targets))
        for target, part in zip(targets, parts, strict=True):
            own = target.cut(part)
            is_view = own.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
            _copy(target.view, own, name, checkpoint if is_view else None)
        bar.update(checkpoint.tensors[name].num_bytes)
        if sink is not None:
            targets = target = None                          # hold no reference to weights that a kernel packs
            for filled in routes[name].homes:
                sink.loaded(filled)


def _copy(home: Tensor, part: Tensor, name: str, checkpoint: Checkpoint | None) -> None:
    """Copy a part to its home. A large part whose rows are in order in the file is copied in pieces of PIECE_BYTES, and
    each piece's pages are dropped at once.

    checkpoint: the part's checkpoint; None for a part that is no view of the file's pages.
    """
    num_bytes = part.numel() * part.element_size()
    if checkpoint is None or num_bytes <= PIECE_BYTES or part.dim() < 2 or not _lies_in_rows(part):
        home.copy_(part)
        return
    rows = max(1, PIECE_BYTES * part.shape[0] // num_bytes)
    for target, piece in zip(home.split(rows), part.split(rows), strict=True):
        target.copy_(piece)
        checkpoint.release(name, piece)


def _lies_in_rows(part: Tensor) -> bool:
    """Whether the rows of a tensor are in order in memory; columns of other shards may lie between them."""
    return part[0].is_contiguous() and part.stride(0) >= part[0].numel()
