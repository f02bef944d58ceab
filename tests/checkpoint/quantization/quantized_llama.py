"""The tiny Llama in two directories: its matrices quantized, and the floats that these stand for."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny_llama import make_checkpoint

from weft.checkpoint.loader import open_weights
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.resolve.engine_config import resolve_engine_config


@dataclass(frozen=True)
class Pair:
    """values: the dequantized matrices by name."""

    quantized: Path
    plain: Path
    values: dict


def is_quantized(name):
    return name.endswith("_proj.weight")


def named(stem, parts):
    """Stored tensors by their names, each with memory of its own, as files want them."""
    return {stem + suffix: part.clone(memory_format=torch.contiguous_format) for suffix, part in parts.items()}


def make_pair(directory, settings, quantize, *, which=is_quantized, change=None, moved_to=None):
    """The checkpoint twice. quantize: (matrix) -> (tensors by suffix, value). change: of the stored tensors.

    moved_to: a file for `settings` instead of config.json.
    """
    plain, quantized = make_checkpoint(directory / "plain"), make_checkpoint(directory / "quantized")
    state = load_file(plain / "model.safetensors")
    stored, values = {}, {}
    for name, tensor in state.items():
        if not which(name):
            stored[name] = tensor
            continue
        parts, values[name] = quantize(tensor)
        stored |= named(name.removesuffix(".weight"), parts)
    if change is not None:
        change(stored)
    save_file(state | values, plain / "model.safetensors")
    save_file(stored, quantized / "model.safetensors")
    if moved_to is not None:
        (quantized / moved_to).write_text(json.dumps(settings))
    else:
        file = quantized / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": settings}))
    return Pair(quantized, plain, values)


def config_of(directory, **options):
    return resolve_engine_config(EngineArgs(model=str(directory), skip_tokenizer_init=True, **options),
                                 Machine.detect())


def opened(directory, *, dtype="float32", **options):
    config = config_of(directory, **options)
    return open_weights(replace(config.model, dtype=dtype), config.load)
