"""What can be said about a checkpoint without reading its weights: collected here, printed by `weft inspect`.

Reads config files and the weights' headers; the kernels are asked of a model without data. Heavy to import (torch).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from weft.architectures.describe import describe
from weft.architectures.registry import families
from weft.architectures.sizes import (
    DTYPE_BYTES,
    block_shapes,
    cache_bytes_per_token,
    cache_groups,
    flops_per_token,
    num_active_parameters,
    parameter_shapes,
)
from weft.architectures.spec import DecoderSpec
from weft.checkpoint.loader import needs_own_head, open_weights
from weft.checkpoint.reader import Checkpoint
from weft.cli import words
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.config.quantization_methods import at_load
from weft.engine.memory import MemoryPlan, plan_memory
from weft.engine.start_report import machine_facts
from weft.errors import CheckpointError, MemoryPlanError
from weft.resolve.engine_config import resolve_engine_config
from weft.resolve.reader import ConfigReader


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model's configuration and what follows from it.

    has_own_head: None when there are no weights to tell. plan: None when the model does not fit, as plan_error says.
    """

    config: EngineConfig
    machine: Machine
    spec: DecoderSpec
    reader: ConfigReader
    weights: Checkpoint | None
    weights_error: str
    has_own_head: bool | None
    plan: MemoryPlan | None
    plan_error: str


def inspect_model(args: EngineArgs, machine: Machine) -> Inspection:
    """Resolve and plan. ConfigError when the configuration is wrong; weights that are missing or broken are noted."""
    config = resolve_engine_config(args, machine)
    spec, reader = describe(config.model)
    weights, weights_error, has_head = None, "", None
    try:
        weights = open_weights(config.model, config.load)
        has_head = needs_own_head(weights, spec, config.model.hf_config)
    except CheckpointError as error:
        weights_error = str(error)
    plan, plan_error = None, ""
    try:
        plan = plan_memory(spec, config, machine, checkpoint=weights, has_own_head=has_head)
    except MemoryPlanError as error:
        plan_error = str(error)
    return Inspection(config, machine, spec, reader, weights, weights_error, has_head, plan, plan_error)


def settings(found: Inspection) -> list[tuple[str, Any, str]]:
    """(name, value, source) of what the engine would run with, then of each key of the model's config that was read."""
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
    return rows + [(key, value, source) for key, (value, source) in found.reader.values_read().items()]


def layers(found: Inspection) -> list[dict[str, Any]]:
    """One entry for each kind of block: its layers and parts in words, parameters and cache bytes of one layer."""
    spec = found.spec
    return [{
        "layers": numbers, "attention": words.attention(block.mixer),
        "positions": words.rope_words(block.mixer.positions),
        "ffn": words.ffn(block.ffn), "norms": words.block_norms(block),
        "parameters": sum(map(prod, block_shapes(block, spec.hidden_size).values())),
        "cache_bytes_per_token": cache_bytes_per_token(block.mixer, found.config.cache.dtype),
    } for numbers, block in words.patterns(spec.blocks)]


def sizes(found: Inspection) -> dict[str, Any]:
    """Numbers of the whole model."""
    spec, width = found.spec, DTYPE_BYTES[found.config.model.dtype]
    shapes = parameter_shapes(spec, has_own_head=found.has_own_head)
    parameters = sum(map(prod, shapes.values()))
    groups = cache_groups(spec, found.config.cache.dtype, found.config.cache.block_size)
    return {
        "parameters": parameters,
        "active_parameters": num_active_parameters(spec, has_own_head=found.has_own_head),
        "weight_bytes": parameters * width,
        "kv_bytes_per_token": sum(group.bytes_per_token for group in groups),
        "flops_per_token": flops_per_token(spec),
        "head": "shares the embedding's table" if "head.weight" not in shapes else "has a table of its own",
        "cache_groups": [{"window": group.window, "layers": words.layer_words(group.layers),
                          "bytes_per_token": group.bytes_per_token} for group in groups],
        "checkpoint": found.weights_error or _weights_words(found.weights),
    }


def kernels(found: Inspection) -> dict[str, str]:
    """{operator: the kernels that would run, with the reasons against others}, from a model without memory."""
    import torch

    from weft.layers.context import CacheFormat, LayerContext
    from weft.models.decoder import Decoder
    from weft.ops.kernel import explain
    from weft.ops.sampling import SamplingCase, choose_sampling

    context = LayerContext(getattr(torch, found.config.model.dtype), isa=found.config.cpu_isa, has_memory=False,
                      quantization=at_load(found.config.load.quantization),
                      cache=CacheFormat(found.config.cache.dtype, found.config.cache.block_size))
    tied = found.spec.head.tied if found.has_own_head is None else not found.has_own_head
    model = Decoder(found.spec, tied=tied, max_model_len=1, context=context)
    sampling = choose_sampling(SamplingCase(device=context.device, isa=context.isa))
    return explain([*model.choices(), sampling])


def as_json(found: Inspection) -> dict[str, Any]:
    """All of it as plain data."""
    plan = None if found.plan is None else asdict(found.plan) | {"total_bytes": found.plan.total_bytes}
    return {
        "settings": {name: {"value": value, "source": source} for name, value, source in settings(found)},
        "layers": layers(found), "sizes": sizes(found),
        "memory_plan": plan, "memory_plan_error": found.plan_error or None,
        "kernels": kernels(found), "unread_keys": found.reader.unread(),
        "is_described_by_weft": found.config.model.architecture in families(),
    }


def _weights_words(weights: Checkpoint | None) -> str:
    if weights is None or not weights.tensors:
        return "no weights"
    infos = list(weights.tensors.values())
    dtypes = sorted({info.dtype_name for info in infos})
    cost = weights.cost()
    return (f"{len(infos)} tensors ({', '.join(dtypes)}) in {len({info.file for info in infos})} file(s)"
            + (f"; {cost}" if cost else ""))
