"""Collects the facts about a checkpoint that `weft inspect` prints, without reading its weights.

This module reads config files and the headers of weight files, and builds the model on the meta device. Slow to import
(torch).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from weft.architectures.differences import Difference, differences
from weft.architectures.registry import families
from weft.architectures.words import layer_words
from weft.cache.groups import CacheGroup, StateGroup, WindowGroup
from weft.checkpoint.loader import open_weights
from weft.checkpoint.reader import Checkpoint
from weft.cli.tables import human_count
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.engine.memory.plan import MemoryPlan, plan_memory, planned_groups
from weft.engine.memory.start_report import machine_facts
from weft.errors import CheckpointError, MemoryPlanError, NotBuiltError, NoWeightsError
from weft.models.build import build_model, layer_context
from weft.models.engine_model import EngineModel
from weft.models.found import found_file
from weft.models.registry import ModelRegistry
from weft.models.sizes import (
    cache_bytes_per_token,
    float_bytes,
    flops_per_token,
    num_active_parameters,
    num_parameters,
)
from weft.ops.kernel import explain
from weft.ops.sampling import SamplingCase, choose_sampling
from weft.resolve.engine_config import resolve_engine_config


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model's configuration and the facts that follow from it.

    weights: None, with `weights_error`, if they are missing or broken. plan: None, with `plan_error`, if the model does
    not fit into memory. load_error: what loading would raise, as far as headers tell; None also where there are no
    weight files. not_checked: what headers do not tell, in words.
    """

    config: EngineConfig
    machine: Machine
    model: EngineModel
    weights: Checkpoint | None
    weights_error: str
    plan: MemoryPlan | None
    plan_error: str
    load_error: CheckpointError | NotBuiltError | None
    not_checked: str


def inspect_model(args: EngineArgs, machine: Machine) -> Inspection:
    """Resolve the configuration and plan memory. ConfigError if the configuration is wrong. Missing or broken weights
    are only noted."""
    config = resolve_engine_config(args, machine)
    weights, weights_error, load_error, not_checked = None, "", None, ""
    try:
        weights = open_weights(config.model, config.load)
    except CheckpointError as error:
        weights_error, load_error = str(error), None if isinstance(error, NoWeightsError) else error
    model = build_model(config, layer_context(config), weights)
    plan, plan_error = None, ""
    try:
        plan = plan_memory(model, config, machine)
    except MemoryPlanError as error:
        plan_error = str(error)
    try:
        not_checked = model.check_weights()
    except (CheckpointError, NotBuiltError) as error:
        load_error = error
    return Inspection(config, machine, model, weights, weights_error, plan, plan_error, load_error, not_checked)


def summary(found: Inspection) -> dict[str, str]:
    """The model in a few rows: its kind, its size, its files and whether they would load."""
    model, words = found.config.model, found.model.words()
    method = "" if model.quantization is None else f", quantized by {model.quantization.method}"
    return {
        "architecture": f"{model.architecture}, {_origin(found)}",
        "shape": words.title,
        "parameters": _parameters(found),
        "weights": f"{human_bytes(float_bytes(found.model.module, model.dtype))} in {model.dtype}{method}",
        "checkpoint": found.weights_error or _weights_words(found),
        "loading": _loading(found),
    }


def _origin(found: Inspection) -> str:
    model = found.config.model
    registered = ModelRegistry.models.get(model.architecture)
    place = model.model_file or model.model_class or (None if registered is None else registered.words())
    if description(found) is None:
        return "by Transformers' code" if place is None else f"programmed in {place}"
    if place is None and model.architecture not in families():
        kept = found_file(model)
        return "described by weft" if kept is None else f"described by what `weft describe` found and proved ({kept})"
    return "described by weft" if place is None else f"described in {place}"


def _parameters(found: Inspection) -> str:
    module = found.model.module
    total, active = num_parameters(module), num_active_parameters(module)
    return f"{human_count(total)} ({total:,})" + (f", {human_count(active)} of them for each token"
                                                  if active != total else "")


def _loading(found: Inspection) -> str:
    if found.load_error is not None:
        return "would fail; the report is at the end"
    if found.weights is None:
        return "not checked: there are no weights"
    if found.weights.is_dummy:
        return "random weights"
    return found.not_checked or "every tensor has a home of its shape, and every home a tensor"


def description(found: Inspection) -> list[Difference] | None:
    """The values of the description that are not defaults of their parts; None for a model that is not described."""
    spec = getattr(found.model, "spec", None)
    return None if spec is None else differences(spec)


def settings(found: Inspection) -> list[tuple[str, Any, str]]:
    """(name, value, source) of the engine's settings, then of each key that was read in the model's config."""
    config, model = found.config, found.config.model
    origin = model.origins.get
    rows: list[tuple[str, Any, str]] = [
        ("model", model.name, origin("model_path", "option")),
        ("architecture", model.architecture, origin("architectures", "config.json")),
        ("dtype", model.dtype, origin("dtype", "option")),
        *([("quantization", model.quantization.method, model.quantization.source)] if model.quantization else []),
        ("max_model_len", model.max_model_len, origin("max_model_len", "option")),
        ("eos_token_ids", list(model.eos_token_ids), "generation_config.json and config.json"),
        *((f"sampling.{key}", value, origin(f"sampling.{key}", "option"))
          for key, value in model.generation_defaults.items()),
        ("max_num_seqs", config.scheduler.max_num_seqs, "option or default"),
        ("max_num_batched_tokens", config.scheduler.max_num_batched_tokens, "option or default"),
        ("kv_cache_dtype", config.cache.dtype, "option or default"),
        ("block_size", config.cache.block_size, "option or default"),
        *((name, fact.value, fact.source) for name, fact in machine_facts(config, found.machine).items()),
    ]
    return rows + [(key, value, source) for key, (value, source) in _values_read(found).items()]


def sizes(found: Inspection) -> dict[str, Any]:
    """Sizes of the whole model: parameters, bytes, floating-point operations for each token, cache groups."""
    module = found.model.module
    groups = planned_groups(found.model, found.config)
    parameters = num_parameters(module)
    return {
        "parameters": parameters,
        "active_parameters": num_active_parameters(module),
        "weight_bytes": float_bytes(module, found.config.model.dtype),
        "kv_bytes_per_token": cache_bytes_per_token(module),
        "flops_per_token": flops_per_token(module),
        "head": found.model.words().head,
        "cache_groups": [_cache_group(group) for group in groups],
        "checkpoint": found.weights_error or _weights_words(found),
    }


def _cache_group(group: CacheGroup) -> dict[str, Any]:
    """A cache group as plain data: bytes for each token, or for each sequence (`bytes_per_state`) in a state group."""
    is_state = isinstance(group, StateGroup)
    return {
        "layers": layer_words(group.layers), "words": group.words,
        "window": group.window if isinstance(group, WindowGroup) else None,
        "bytes_per_token": None if is_state else group.block_bytes // group.block_size,
        "bytes_per_state": group.block_bytes if is_state else None,
    }


def kernels(found: Inspection) -> dict[str, str]:
    """{operator: the kernels that would run, with the reasons against other kernels}."""
    sampling = choose_sampling(SamplingCase(device="cpu", isa=found.config.cpu_isa))
    return explain([*found.model.choices(), sampling])


def as_json(found: Inspection) -> dict[str, Any]:
    """The whole inspection as plain data."""
    plan = None if found.plan is None else asdict(found.plan) | {"total_bytes": found.plan.total_bytes}
    return {
        "summary": summary(found),
        "load_error": None if found.load_error is None else str(found.load_error),
        "description": None if (parts := description(found)) is None else {
            part.place: {"kind": part.kind, "values": part.values} for part in parts},
        "settings": {name: {"value": value, "source": source} for name, value, source in settings(found)},
        "layers": [asdict(row) for row in found.model.words().layers], "sizes": sizes(found),
        "memory_plan": plan, "memory_plan_error": found.plan_error or None,
        "kernels": kernels(found), "unread_keys": unread_keys(found),
        "is_described_by_weft": found.config.model.architecture in families(),
    }


def unread_keys(found: Inspection) -> dict[str, Any]:
    """Keys of the config that nothing has read; {} if the model has no config reader."""
    return {} if found.model.reader is None else found.model.reader.unread()


def _values_read(found: Inspection) -> dict[str, tuple[Any, str]]:
    return {} if found.model.reader is None else found.model.reader.values_read()


def _weights_words(found: Inspection) -> str:
    weights, is_native = found.weights, layer_context(found.config).is_native
    if weights is None or not weights.tensors:
        return "no weights"
    infos = list(weights.tensors.values())
    dtypes = sorted({info.dtype_name for info in infos})
    as_codes = [name for name in weights.tensors
                if weights.has_codes(name) and (is_native or weights.has_int8_activations(name))]
    cost = weights.cost(as_codes)
    return (f"{len(infos)} tensors ({', '.join(dtypes)}) in {len({info.file for info in infos})} file(s)"
            + (f"; {cost}" if cost else ""))
