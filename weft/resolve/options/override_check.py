"""Refuses overrides that change nothing, and names the key that would work. Runs after a family has read its config.

The family's `ConfigReader` knows which keys were read; the keys that `resolve/` itself reads are listed here.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.architectures.origin import first_key, is_override
from weft.architectures.reader import ConfigReader
from weft.errors import ConfigError, nearest
from weft.resolve.options.max_len import KEYS as LENGTHS
from weft.resolve.stages import TEXT_CONFIG_KEYS

# Keys that `resolve/` itself reads, for every family.
_OF_RESOLVE = frozenset({
    "architectures", "auto_map", "model_type", "dtype", "torch_dtype", "eos_token_id", "vocab_size", "pooler_config",
    "quantization_config", "compression_config", "sliding_window", "tie_word_embeddings", *LENGTHS,
})


def check_overrides(reader: ConfigReader, origins: Mapping[str, str]) -> None:
    """ConfigError for a key of hf_overrides that neither the family nor `resolve/` has read.

    reader: the reader of the whole config, after the family has read it. origins: the config's origins.
    """
    for path in [path for path, origin in origins.items() if is_override(origin)]:
        if isinstance(reader.at(path), Mapping) and reader.at(path):
            continue      # the keys inside are checked one by one
        if reader.is_used(path) or is_read_by_resolve(path):
            continue
        given = first_key(origins[path]) or path
        raise ConfigError(f"hf_overrides.{given}", reader.at(path), expected="a key that this model reads",
                          hint=_what_would_work(path, reader))


def is_read_by_resolve(path: str) -> bool:
    """Whether `resolve/` itself reads a dotted key."""
    head, _, rest = path.partition(".")
    name = rest if head in TEXT_CONFIG_KEYS and rest else path
    return name.partition(".")[0] in _OF_RESOLVE


def _what_would_work(path: str, reader: ConfigReader) -> str:
    read = [key for key in reader.values_read() if reader.is_used(key)]
    last = path.rpartition(".")[2]
    same = [key for key in read if key.rpartition(".")[2] == last]
    near = same or nearest(path, read, count=3)
    if not near:
        return "It would change nothing. `weft inspect --config` prints the keys that are read."
    return f"It would change nothing; the model reads {' and '.join(near)}."
