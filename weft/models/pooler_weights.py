"""Weights of a pooler that the checkpoint has no tensors of its own for: those in folders of sentence-transformers, and
a head's last matrix that is the embedding's table."""

from __future__ import annotations

from pathlib import Path

from weft.architectures.names import NameMap
from weft.checkpoint.dummy import fill_dummy
from weft.checkpoint.loader import EMBEDDING, filling
from weft.checkpoint.reader import Checkpoint, open_checkpoint
from weft.checkpoint.routing import Router, split_suffix
from weft.checkpoint.torch_file import TorchShard
from weft.errors import CheckpointError
from weft.layers.layer import Home
from weft.layers.pooler import Pooler
from weft.layers.task_poolers import TaskPoolers, poolers_in


def module_homes(pooler: Pooler | TaskPoolers) -> dict[str, tuple[str, Home]]:
    """{"folder/stem.weight": (name of the pooler's home, home)} of the layers that lie in files of their own."""
    homes, found = pooler.homes(), {}
    for prefix, one in poolers_in(pooler).items():
        for head, layers in one.spec.heads.items():
            for number, layer in enumerate(layers):
                for suffix in (".weight", ".bias"):
                    name = f"{prefix}{head}.{number}{suffix}"
                    if layer.names and "/" in layer.names[0] and name in homes:
                        found[f"{layer.names[0]}{suffix}"] = name, homes[name]
    return found


def load_modules(pooler: Pooler | TaskPoolers, directory: Path, *, is_dummy: bool = False) -> None:
    """Fill these layers from their files. CheckpointError names a tensor that is missing or unlike."""
    homes = {stored: home for stored, (_, home) in module_homes(pooler).items()}
    if is_dummy:
        fill_dummy({name: home.view for name, home in homes.items()})
        return
    for folder in dict.fromkeys(name.rpartition("/")[0] for name in homes):
        path = directory / folder
        stored = TorchShard(path) if path.suffix == ".pt" else open_checkpoint(path)
        inside = {name.rpartition("/")[2].removeprefix("."): home for name, home in homes.items()
                  if name.startswith(f"{folder}/")}
        missing = [name for name in inside if name not in stored.tensors]
        more = [name for name in stored.tensors if name not in inside and split_suffix(name)[1]]
        if missing or more:
            raise CheckpointError(f"{path}: the weights do not fit its config.json: "
                                  f"{'no ' + ', '.join(missing) if missing else 'there is ' + ', '.join(more)}.")
        for name, tensor in stored.read(stored.tensors):
            if name in inside:
                inside[name].fill(tensor)


def fill_from_embedding(home: Home, checkpoint: Checkpoint, names: NameMap) -> None:
    """Fill a head's last matrix with the embedding's table."""
    name = filling(checkpoint, Router(names), EMBEDDING)
    assert name is not None, "a checkpoint that has been loaded has an embedding"
    home.fill(next(tensor for _, tensor in checkpoint.read([name])).float())
