"""`open_weights`: a model's checkpoint. `load_weights`: every tensor of it copied into its home.

Names, shapes and dtypes are checked first: nothing is copied when anything does not fit, and the error lists it all.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
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
from weft.ops.quantized import QuantizedWeight

logger = logging.getLogger("weft")

EMBEDDING, HEAD = "embedding.tokens.weight", "head.weight"

# Numbers that can become a weight by a cast. Others (integers, float8) are quantized and need their scales.
_WEIGHT_DTYPES = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which tensor goes where. ignored: tensors that are not read."""

    routes: dict[str, Route]
    ignored: tuple[str, ...]


def open_weights(model: ModelConfig, load: LoadConfig) -> Checkpoint:
    """The model's checkpoint; a quantized one as the weights that it stands for, in the dtype the model computes in.

    ConfigError for settings of a quantization that cannot be used, CheckpointError for files that do not fit them.
    """
    dtype = getattr(torch, model.dtype)
    form = None if model.quantization is None else read_format(model.quantization)
    checkpoint = open_checkpoint(Path(model.path), load.load_format, dtype)
    if form is None or checkpoint.is_dummy:
        return checkpoint
    return QuantizedCheckpoint(checkpoint, form, dtype)


class WeightSink(Protocol):
    """What a model wants to hear while it is loaded (`layers/finishing.py`)."""

    def takes_codes(self, home: str, *, int8_activations: bool = False) -> bool:
        """Whether a home may be given integer codes instead of numbers. int8_activations: as QuantizedWeight's."""
        ...

    def take(self, home: str, weight: QuantizedWeight) -> None:
        """Codes for a home."""

    def loaded(self, home: str) -> None:
        """A home was filled with numbers; nothing here refers to it any more."""


def load_weights(homes: dict[str, Tensor], checkpoint: Checkpoint, names: NameMap, *, tied: bool,
                 use_tqdm: bool = True, sink: WeightSink | None = None) -> LoadReport:
    """Fill `homes` (part name + suffix -> a view of the model's parameter) from a checkpoint.

    tied: the head shares the embedding's table, so `head.weight` is no home of its own.
    CheckpointError: tensors without a home, homes without a tensor, clashes of shape or dtype, all in one report.
    """
    started = time.perf_counter()
    if tied:
        homes = {name: home for name, home in homes.items() if name != HEAD}
    homes = _by_row(homes, names)
    if checkpoint.is_dummy:
        fill_dummy(homes)
        seconds = time.perf_counter() - started
        return LoadReport(num_tensors=0, num_bytes=0, seconds=seconds, files=(), is_head_tied=tied)
    plan = _plan(homes, checkpoint, Router(names), tied)
    num_bytes = sum(checkpoint.tensors[name].num_bytes for name in plan.routes)
    as_codes = {} if sink is None else dict.fromkeys(_as_codes(plan.routes, checkpoint, sink))
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


def _by_row(homes: dict[str, Tensor], names: NameMap) -> dict[str, Tensor]:
    """Homes that the checkpoint stores row by row, replaced by their rows."""
    out = {}
    for name, home in homes.items():
        stem, suffix = split_suffix(name)
        if any(matches(pattern, stem) for pattern in names.by_row):
            out |= {f"{stem}.{row}{suffix}": view for row, view in enumerate(home)}
        else:
            out[name] = home
    return out


def has_own_head(checkpoint: Checkpoint, names: NameMap, *, says_untied: bool = False) -> bool:
    """True when the checkpoint has a head that is not just a copy of its embedding table.

    says_untied: the config states that there is one: a checkpoint without it is incomplete, and `load_weights` says so.
    """
    router = Router(names)
    head, embedding = _filling(checkpoint, router, HEAD), _filling(checkpoint, router, EMBEDDING)
    if head is None or embedding is None:
        return says_untied
    return not same_content(checkpoint, head, embedding)


def _filling(checkpoint: Checkpoint, router: Router, home: str) -> str | None:
    for name in checkpoint.tensors:
        route = router.route(name)
        if route is not None and home in route.homes:
            return name
    return None


def _plan(homes: dict[str, Tensor], checkpoint: Checkpoint, router: Router, tied: bool) -> _Plan:
    """Routes of all tensors, checked. CheckpointError with every fault."""
    faults, routes, ignored = Faults(checkpoint.path, router), {}, []
    filled: dict[str, TensorInfo] = {}
    for name, info in checkpoint.tensors.items():
        route = router.route(name)
        if route is not None and tied and route.homes == (HEAD,):
            route = _tied_head(checkpoint, router, info, faults)
            if route is None:
                ignored.append(name)
                continue
        if route is None and router.is_ignored(name):
            ignored.append(name)
        elif route is not None and not any(home in homes for home in route.homes) and checkpoint.is_spare(name):
            ignored.append(name)
            continue
        elif route is None or not all(home in homes for home in route.homes):
            faults.without_home.append((info, route))
        elif _fits(homes, info, route, faults):
            routes[name] = route
        for home in route.homes if route is not None else ():
            if home in filled:
                faults.filled_twice.append((filled[home], info, home))
            filled[home] = info
    faults.without_tensor.extend((home, tuple(homes[home].shape)) for home in homes if home not in filled)
    if faults:
        raise CheckpointError(faults.text())
    return _Plan(routes, tuple(ignored))


def _tied_head(checkpoint: Checkpoint, router: Router, head: TensorInfo, faults: Faults) -> Route | None:
    """A head's tensor in a tied model: fills the embedding if nothing else does; else it has to be a copy of it."""
    embedding = _filling(checkpoint, router, EMBEDDING)
    if embedding is None:
        route = router.route(head.name)
        assert route is not None, "the tensor is the head's because its name leads there"
        return Route((EMBEDDING,), route.layout)
    if not same_content(checkpoint, head.name, embedding):
        faults.second_head.append((head, checkpoint.tensors[embedding]))
    return None


def _fits(homes: dict[str, Tensor], info: TensorInfo, route: Route, faults: Faults) -> bool:
    targets = [homes[name] for name in route.homes]
    if info.dtype not in _WEIGHT_DTYPES:
        faults.dtypes.append((info, route.homes[0], targets[0].dtype))
        return False
    try:
        parts = take_apart(route.layout, torch.empty(info.shape, dtype=info.dtype, device="meta"),
                           [home.shape[0] if home.dim() else 1 for home in targets])
    except ValueError as error:
        faults.shapes.append((info, " + ".join(route.homes), str(error)))
        return False
    for name, home, part in zip(route.homes, targets, parts, strict=True):
        if home.shape != part.shape:
            faults.shapes.append((info, name, f"the model has {list(home.shape)}"))
            return False
    return True


def _as_codes(routes: dict[str, Route], checkpoint: Checkpoint, sink: WeightSink) -> list[str]:
    """Quantized tensors whose rows all have homes that take codes."""
    return [name for name, route in routes.items() if checkpoint.has_codes(name) and has_rows(route.layout)
            and all(sink.takes_codes(home, int8_activations=checkpoint.has_int8_activations(name))
                    for home in route.homes)]


def _take(homes: dict[str, Tensor], checkpoint: Checkpoint, name: str, route: Route, sink: WeightSink) -> bool:
    """Give a tensor's codes to its homes; False where reading shows columns in an order of their own (GPTQ's g_idx)."""
    weight = checkpoint.quantized(name)
    if weight is None:
        return False
    parts = quantized_parts(route.layout, weight, checkpoint.tensors[name].shape,
                            [homes[home].shape[0] for home in route.homes])
    for home, part in zip(route.homes, parts, strict=True):
        del homes[home]
        sink.take(home, part)
    return True


@torch.no_grad()
def _copy_all(homes: dict[str, Tensor], checkpoint: Checkpoint, routes: dict[str, Route], bar: tqdm,
              sink: WeightSink | None) -> None:
    for name, tensor in checkpoint.read(routes.keys()):
        targets = [homes[home] for home in routes[name].homes]
        parts = take_apart(routes[name].layout, tensor, [home.shape[0] if home.dim() else 1 for home in targets])
        for home, part in zip(targets, parts, strict=True):
            is_view = part.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
            _copy(home, part, name, checkpoint if is_view else None)
        bar.update(checkpoint.tensors[name].num_bytes)
        if sink is not None:
            targets = home = None                            # what a kernel packs must not be held here
            for filled in routes[name].homes:
                del homes[filled]
                sink.loaded(filled)


def _copy(home: Tensor, part: Tensor, name: str, checkpoint: Checkpoint | None) -> None:
    """Row by row where a part is large and lies in one piece of the file: its pages go as soon as they are copied.

    checkpoint: None for a part that is a copy of the file's, on memory of its own.
    """
    num_bytes = part.numel() * part.element_size()
    if checkpoint is None or num_bytes <= PIECE_BYTES or not part.is_contiguous() or part.dim() < 2:
        home.copy_(part)
        return
    rows = max(1, PIECE_BYTES * part.shape[0] // num_bytes)
    for target, piece in zip(home.split(rows), part.split(rows), strict=True):
        target.copy_(piece)
        checkpoint.release(name, piece)
