"""The golden configs of `golden/*.json`: read, resolved as an engine would, and put in the short form they are kept in.

An entry is {name, config | params, config?, overrides?, result | error}; params: a params.json, in a folder with
weights of Mistral's format. result: what the stages changed, as {key: [value, source]}, and
what the family makes of it. `tools/golden_configs.py` writes results anew, for review.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from descriptions import description_of

from weft.architectures import words
from weft.architectures.origin import source_of
from weft.architectures.registry import families
from weft.architectures.spec import DecoderSpec
from weft.config.engine_args import EngineArgs
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError
from weft.models.sizes import model_of, num_parameters
from weft.resolve.engine_config import resolve_model
from weft.resolve.files import find_model

NO_TENSORS = (2).to_bytes(8, "little") + b"{}"      # a whole safetensors file
FOLDER = Path(__file__).parent / "golden"


def files() -> list[Path]:
    """One file for each group of models."""
    return sorted(FOLDER.glob("*.json"))


def entries() -> list[dict[str, Any]]:
    """All of them."""
    return [entry for file in files() for entry in json.loads(file.read_text(encoding="utf-8"))]


def resolve(entry: dict[str, Any], directory: Path) -> ModelConfig:
    """The entry's model config, read from a directory that is written for it."""
    directory.mkdir(parents=True, exist_ok=True)
    for key in ("config", "params"):
        if key in entry:
            (directory / f"{key}.json").write_text(json.dumps(entry[key]))
    if "params" in entry:
        (directory / "consolidated.safetensors").write_bytes(NO_TENSORS)
    args = EngineArgs(model=str(directory), hf_overrides=entry.get("overrides", {}))
    return resolve_model(args, find_model(args))


def outcome(entry: dict[str, Any], directory: Path) -> dict[str, Any]:
    """{"result": …} or {"error": text}, with the directory taken out of all texts."""
    logging.disable(logging.WARNING)
    try:
        model = resolve(entry, directory)
        result = {"architecture": model.architecture, "dtype": model.dtype, "max_model_len": model.max_model_len,
                  "eos_token_ids": list(model.eos_token_ids),
                  "changed": dict(changed(model, entry.get("params") or entry["config"]))}
        if any(name in families() for name in model.hf_config["architectures"]):
            result |= described(description_of(model)[0])
        return {"result": _without(result, f"{directory.resolve()}/")}
    except ConfigError as error:
        return {"error": _without(str(error), f"{directory.resolve()}/")}
    finally:
        logging.disable(logging.NOTSET)


def changed(model: ModelConfig, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(key, [value, source]) of each value that is not the file's own under its own key; (key, "gone") of the rest."""
    after, before = dict(_leaves(model.hf_config)), dict(_leaves(config))
    for key, value in after.items():
        source = source_of(key, model.origins, model.config_source)
        if key != "dtype" and (key not in before or source != model.config_source):
            yield key, [value, source]
    yield from ((key, "gone") for key in before if key not in after)


def described(spec: DecoderSpec) -> dict[str, Any]:
    """What the family makes of it: parameters, and each kind of layer in words."""
    return {"parameters": num_parameters(model_of(spec)), "layers": [
        "; ".join((numbers, block.mixer.describe(), words.describe(block.mixer.positions, "none"),
                   words.describe(block.ffn), words.block_norms(block)))
        for numbers, block in words.patterns(spec.blocks)]}


def _leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def _without(value: Any, prefix: str) -> Any:
    return json.loads(json.dumps(value).replace(json.dumps(prefix)[1:-1], ""))
