"""Sampling defaults, end-of-text (EOS) token ids and the tokens that a decoder beside an encoder starts from.

Read from generation_config.json, config.json and tokenizer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.config.whole_numbers import whole_numbers
from weft.errors import ConfigError, RequestError
from weft.resolve.config_file import HFConfig
from weft.resolve.json_file import read_json_if_there
from weft.sampling_params import SamplingParams

GENERATION_NAME = "generation_config.json"
SAMPLING_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
                 "frequency_penalty", "max_new_tokens")

logger = logging.getLogger("weft")


def generation_folder(option: str, directory: Path) -> Path:
    """The folder whose generation_config.json is read: the model's for `auto` and `weft`, else the folder named."""
    if option in ("auto", "weft", "vllm"):
        return directory
    folder = Path(option).expanduser()
    if not (folder / GENERATION_NAME).is_file():
        raise ConfigError("generation_config", option, expected=f"auto, weft, or a directory with a {GENERATION_NAME}")
    return folder


def sampling_defaults(option: str, overrides: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Default sampling parameters of requests, {name of SAMPLING_KEYS: value}. ConfigError for values out of range."""
    path = generation_folder(option, directory) / GENERATION_NAME
    values = {} if option in ("weft", "vllm") else read_json_if_there(path)
    found = {key: _checked(key, values[key], str(path)) for key in SAMPLING_KEYS if values.get(key) is not None}
    for key, value in overrides.items():
        if key not in SAMPLING_KEYS:
            raise ConfigError(f"override_generation_config.{key}", value,
                              expected=f"a key out of {', '.join(SAMPLING_KEYS)}")
        found.pop(key, None)
        if value is not None:
            found[key] = _checked(key, value, "override_generation_config")
    return found


def sampling_origins(defaults: Mapping[str, Any], option: str, overrides: Mapping[str, Any],
                     directory: Path) -> dict[str, str]:
    """{"sampling.KEY": source} of sampling defaults. Logs the defaults and their sources."""
    path = str(generation_folder(option, directory) / GENERATION_NAME)
    origins = {f"sampling.{key}": "override_generation_config" if key in overrides else path for key in defaults}
    if defaults:
        logger.info("requests start from %s", ", ".join(f"{key} = {value} ({origins[f'sampling.{key}']})"
                                                        for key, value in defaults.items()))
    return origins


def eos_token_ids(option: str, config: HFConfig, directory: Path, vocab_size: int) -> tuple[int, ...]:
    """All token ids that end a text: those of generation_config.json and config.json; without any, the tokenizer's.

    Ids outside the vocabulary are left out and logged as a warning.
    """
    path = generation_folder(option, directory) / GENERATION_NAME
    ids = [*_ids("eos_token_id", read_json_if_there(path).get("eos_token_id"), str(path))]
    for prefix, values in ((config.text_path, config.text), ("", config.values)):
        ids += _ids(f"{prefix}eos_token_id", values.get("eos_token_id"), config.source)
    if not ids:
        ids = _of_tokenizer(directory)
    outside = sorted({i for i in ids if not 0 <= i < vocab_size})
    if outside:
        logger.warning("eos_token_id %s of %s is not in the vocabulary of %d ids and ends nothing.", outside,
                       config.source, vocab_size)
    return tuple(dict.fromkeys(i for i in ids if 0 <= i < vocab_size))


def decoder_token_ids(option: str, config: HFConfig, directory: Path, vocab_size: int) -> dict[str, Any]:
    """The fields of a ModelConfig about the tokens of a decoder beside an encoder: start, forced and suppressed ones.

    A decoder without a start token starts from bos_token_id, as in Transformers' `generate`. generation_config.json
    is asked before config.json, and alone about forced and suppressed tokens. ConfigError for a start or forced token
    outside the vocabulary.
    """
    path = generation_folder(option, directory) / GENERATION_NAME
    own, in_config = (read_json_if_there(path), str(path)), (config.values, config.source)

    def first(key: str, *sources: tuple[Mapping[str, Any], str]) -> int | None:
        for values, source in sources:
            ids = _ids(key, values.get(key), source)[:1]
            if ids and not 0 <= ids[0] < vocab_size:
                raise ConfigError(key, ids[0], expected=f"a token id from 0 to {vocab_size - 1}", source=source)
            if ids:
                return ids[0]
        return None

    def suppressed(key: str) -> tuple[int, ...]:
        values, source = own if own[0] else in_config
        return tuple(i for i in _ids(key, values.get(key), source) if 0 <= i < vocab_size)

    start = first("decoder_start_token_id", own, in_config)
    return {"decoder_start_token_id": first("bos_token_id", own, in_config) if start is None else start,
            **{key: first(key, own if own[0] else in_config) for key in ("forced_bos_token_id", "forced_eos_token_id")},
            "is_multilingual": own[0].get("is_multilingual") is not False,
            "suppress_token_ids": suppressed("suppress_tokens"),
            "begin_suppress_token_ids": suppressed("begin_suppress_tokens")}


def _checked(key: str, value: Any, source: str) -> Any:
    value = whole_numbers(value)
    name = "max_tokens" if key == "max_new_tokens" else key
    try:
        return getattr(SamplingParams(temperature=1.0, **{name: value}) if key != "temperature" else
                       SamplingParams(temperature=value), name)
    except RequestError as error:
        raise ConfigError(key, value, expected=error.expected, source=source) from error


def _ids(key: str, value: Any, source: str) -> list[int]:
    ids = whole_numbers(value if isinstance(value, list) else [] if value is None else [value])
    for entry in ids:
        if not isinstance(entry, int) or isinstance(entry, bool):
            raise ConfigError(key, value, expected="a token id or a list of them", source=source)
    return ids


def _of_tokenizer(directory: Path) -> list[int]:
    """[id of tokenizer_config.json's eos_token], looked up in the tokenizer's files; [] when it is not found."""
    settings = read_json_if_there(directory / "tokenizer_config.json")
    token = settings.get("eos_token")
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        return []
    added = settings.get("added_tokens_decoder")
    for key, entry in (added.items() if isinstance(added, dict) else ()):
        if isinstance(entry, dict) and entry.get("content") == token and key.isdigit():
            return [int(key)]
    tokenizer = read_json_if_there(directory / "tokenizer.json")
    for entry in tokenizer.get("added_tokens") or ():
        if isinstance(entry, dict) and entry.get("content") == token and isinstance(entry.get("id"), int):
            return [entry["id"]]
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else read_json_if_there(directory / "vocab.json")
    found = vocab.get(token) if isinstance(vocab, dict) else None
    return [found] if isinstance(found, int) else []
