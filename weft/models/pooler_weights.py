"""Weights of a pooler that do not lie in the checkpoint's own files: those of sentence-transformers' modules."""

from __future__ import annotations

from pathlib import Path

from weft.checkpoint.dummy import fill_dummy
from weft.checkpoint.reader import open_checkpoint
from weft.checkpoint.routing import split_suffix
from weft.errors import CheckpointError
from weft.layers.layer import Home
from weft.layers.pooler import Pooler


def module_homes(pooler: Pooler) -> dict[str, Home]:
    """{"folder/stem.weight": home} of the layers that lie in folders of their own."""
    homes = pooler.projections.homes()
    found = {}
    for number, layer in enumerate(pooler.spec.projections):
        for suffix in (".weight", ".bias"):
            if layer.names and f"{number}{suffix}" in homes:
                found[f"{layer.names[0]}{suffix}"] = homes[f"{number}{suffix}"]
    return found


def load_modules(pooler: Pooler, directory: Path, *, is_dummy: bool = False) -> None:
    """Fill these layers from the folders of a checkpoint. CheckpointError names a tensor that is missing or unlike."""
    homes = module_homes(pooler)
    if is_dummy:
        fill_dummy({name: home.view for name, home in homes.items()})
        return
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in homes):
        stored = open_checkpoint(directory / folder)
        inside = {name.rpartition("/")[2]: home for name, home in homes.items() if name.startswith(f"{folder}/")}
        missing = [name for name in inside if name not in stored.tensors]
        more = [name for name in stored.tensors if name not in inside and split_suffix(name)[1]]
        if missing or more:
            raise CheckpointError(f"{directory / folder}: the weights do not fit its config.json: "
                                  f"{'no ' + ', '.join(missing) if missing else 'there is ' + ', '.join(more)}.")
        for name, tensor in stored.read():
            if name in inside:
                inside[name].fill(tensor)
