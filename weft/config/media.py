"""Options about media of prompts: `read_limits` reads vLLM's `limit_mm_per_prompt`, `read_processor_kwargs` its
`mm_processor_kwargs`, `check_sources` checks where files may come from.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.errors import ConfigError

KINDS = ("image", "video", "audio")
_FIELD = "limit_mm_per_prompt"
# What vLLM's long form says besides the count, to plan memory for items of that size. weft plans none for them.
_SIZES = frozenset({"width", "height", "num_frames", "length"})
# Arguments of Transformers' processors that are a prompt's data, or that weft reads the result by.
DATA_ARGUMENTS = frozenset({"text", "images", "videos", "audio", "return_tensors", "return_text_replacement_offsets",
                            "raw_speech", "sampling_rate"})


def read_processor_kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the model's processor for all prompts. ConfigError for what is no setting."""
    for name, value in given.items():
        if not isinstance(name, str) or name in DATA_ARGUMENTS:
            raise ConfigError("mm_processor_kwargs", {name: value},
                              expected="settings of the model's processor by name",
                              hint=f"{', '.join(sorted(DATA_ARGUMENTS))} are weft's to give.")
    return dict(given)


def check_sources(domains: Sequence[str], networks: Sequence[str], fetch_timeout: float) -> None:
    """ConfigError for what is no host, no network or no time in `allowed_media_domains`, `allowed_media_networks` and
    `media_fetch_timeout`."""
    for domain in domains:
        if not isinstance(domain, str) or not domain or any(mark in domain for mark in "/:@* "):
            raise ConfigError("allowed_media_domains", domain, expected="names of hosts, such as images.example.com",
                              hint="Name each host in full, without scheme, port and pattern.")
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError("allowed_media_networks", network, expected="networks, such as 10.1.0.0/16",
                              hint=f"{error}.") from error
    if not 0 < fetch_timeout < math.inf:
        raise ConfigError("media_fetch_timeout", fetch_timeout, expected="seconds above 0")


def read_local_path(given: str) -> str:
    """`allowed_local_media_path` as an absolute path; "": no files. ConfigError unless it is a folder."""
    if given and not Path(given).is_dir():
        raise ConfigError("allowed_local_media_path", given, expected="a folder that exists")
    return given and str(Path(given).resolve())


def read_limits(given: Mapping[str, Any] | None) -> dict[str, int]:
    """{kind: most items of a prompt}; a kind that is not there has no limit. ConfigError names what is wrong.

    given: {kind: number}, or {kind: {"count": number}} with sizes, which are checked and not used.
    """
    limits: dict[str, int] = {}
    for kind, value in (given or {}).items():
        if kind not in KINDS:
            raise ConfigError(_FIELD, kind, expected=f"only the keys {', '.join(KINDS)}")
        count = value.get("count", 999) if isinstance(value, Mapping) else value
        numbers = {kind: count} if not isinstance(value, Mapping) else {f"{kind}.{key}": x for key, x in value.items()}
        for name, number in numbers.items():
            key = name.partition(".")[2]
            if key not in {"", "count", *_SIZES}:
                raise ConfigError(f"{_FIELD}.{name}", number, expected=f"count, {', '.join(sorted(_SIZES))}")
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise ConfigError(f"{_FIELD}.{name}", number, expected="a whole number from 0")
        limits[kind] = count
    return limits
