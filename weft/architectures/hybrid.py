"""What configs of hybrid models say of their layers: which of them have attention, and which have a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weft.architectures import keys
from weft.architectures.reader import ConfigReader

ATTENTION, STATE = "full_attention", "linear_attention"
# Names of the two kinds, today's and those of earlier configs.
KINDS = {ATTENTION: ATTENTION, "attention": ATTENTION, STATE: STATE, "mamba": STATE}


def layer_kinds(c: ConfigReader, *, default: Sequence[str], known: Mapping[str, str] = KINDS,
                names: tuple[str, ...] = ("layer_types", "layers_block_type")) -> list[str]:
    """The kind of each layer, [L]: from the list under one of `names`, else the family's default.

    known: {name in configs: kind}. ConfigError for a list of another length than num_hidden_layers says, if that is
    given, and for an unknown name.
    """
    name = next((name for name in names if c.has(name)), names[0])
    entries = c.list(*names, default=None)
    if entries is None:
        return list(default)
    layers = keys.num_layers(c) if c.has("num_hidden_layers") else len(entries)
    if len(entries) != layers:
        raise c.error(name, f"{len(entries)} entries", f"{layers} entries, as num_hidden_layers says")
    for index, entry in enumerate(entries):
        if entry not in known:
            raise c.error(f"{name}[{index}]", entry, f"one of {', '.join(known)}")
    return [known[entry] for entry in entries]


def layers_in(c: ConfigReader, name: str, *, default: Sequence[int] = ()) -> tuple[int, ...]:
    """Layer numbers under a key. ConfigError for a number that no layer has."""
    layers, found = keys.num_layers(c), c.list(name, default=None)
    for number in found or ():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < layers:
            raise c.error(name, number, f"numbers of layers, 0 to {layers - 1}, as num_hidden_layers says")
    return tuple(default if found is None else found)
