"""`fingerprint_of`: the `system_fingerprint` of answers, the same for the same weights, options and version of weft.

Options are those that answers depend on: not sizes of steps and caches. Weights are told apart by samples of their
files, because reading them whole would take as long as loading.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from weft.config.engine_config import EngineConfig
from weft.resolve.gguf.files import check_gguf_file, parts_of
from weft.server.options import ServerOptions
from weft.version import __version__

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_SAMPLES, _SAMPLE_BYTES = 16, 4096      # of each file, evenly spread
# Fields of a ModelConfig that say where a model is, or what requests may ask for.
_PLACES = ("name", "path", "origins", "config_source", "model_file", "max_logprobs", "enable_prompt_embeds")
_CHARS = 12


def fingerprint_of(config: EngineConfig, options: ServerOptions) -> str | None:
    """The fingerprint in the option's form; None: answers have none."""
    if options.fingerprint_mode in ("custom", "none"):
        return options.fingerprint_value
    digest = _digest(config)
    return digest if options.fingerprint_mode == "hash" else f"weft-{__version__}-{digest}"


def _digest(config: EngineConfig) -> str:
    model = {name: value for name, value in asdict(config.model).items() if name not in _PLACES}
    facts: dict[str, Any] = {
        "version": __version__, "model": model, "load_format": config.load.load_format,
        "quantization": config.load.quantization, "activation_dtype": config.load.activation_dtype,
        "cache_dtype": config.cache.dtype, "cpu_isa": config.cpu_isa, "logits_processors": config.logits_processors,
        "speculative": config.speculative and asdict(config.speculative)}
    found = sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in _weight_files(Path(config.model.path)):
        _add_samples(found, file)
    return found.hexdigest()[:_CHARS]


def _weight_files(path: Path) -> list[Path]:
    if check_gguf_file(path):
        return list(parts_of(path))
    return sorted(file for file in path.glob("*") if file.suffix in _SUFFIXES and file.is_file())


def _add_samples(found: Any, file: Path) -> None:
    with file.open("rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        found.update(f"{size};".encode())
        for i in range(_SAMPLES):
            found.update(os.pread(opened.fileno(), _SAMPLE_BYTES, size * i // _SAMPLES))
