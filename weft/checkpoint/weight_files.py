"""Finds the files of a directory that hold its weights. Reads index files, but opens no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from weft.errors import CheckpointError, ConfigError, NoWeightsError
from weft.resolve.json_file import read_json

# Kinds of files as (stem, suffix), and {load_format: kinds in order of preference}.
_SAFETENSORS, _TORCH, _MISTRAL = ("model", "safetensors"), ("pytorch_model", "bin"), ("consolidated", "safetensors")
_FORMATS = {"auto": (_SAFETENSORS, _TORCH, _MISTRAL), "safetensors": (_SAFETENSORS,), "pt": (_TORCH,),
            "mistral": (_MISTRAL,)}
_PATTERNS = {_SAFETENSORS: "*.safetensors", _TORCH: "pytorch_model*.bin", _MISTRAL: "consolidated*.safetensors"}

_WEIGHT_SUFFIXES = (".gguf", ".h5", ".msgpack", ".ot", ".pth", ".pt", ".bin", ".safetensors", ".onnx")


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files in reading order. owner: {tensor name: file} from the index; index: the index file, or None.

    is_mistral: tensor names are those of Mistral's own format.
    """

    files: tuple[Path, ...]
    is_safetensors: bool
    owner: dict[str, Path] = field(default_factory=dict)
    index: Path | None = None
    is_mistral: bool = False


def find_weight_files(path: Path, load_format: str) -> WeightFiles:
    """The weight files of a directory, or the file `path`. NoWeightsError when there are none,
    CheckpointError when one is missing.
    """
    if path.is_file():
        return WeightFiles((path,), path.suffix == ".safetensors", is_mistral=path.name.startswith(_MISTRAL[0]))
    for kind in _FORMATS[load_format]:
        found = _find(path, kind)
        if found is not None:
            return found
    wanted = " or ".join(_PATTERNS[kind] for kind in _FORMATS[load_format][:2])
    raise NoWeightsError(f"{path}: no weights: looked for {wanted}. {_what_is_there(path)}")


def _find(path: Path, kind: tuple[str, str]) -> WeightFiles | None:
    stem, suffix = kind
    index = path / f"{stem}.{suffix}.index.json"
    if index.exists():
        return _of_index(index, kind)
    names = [f"{stem}.{suffix}"] if (path / f"{stem}.{suffix}").exists() else []
    files = [path / name for name in names] or sorted(path.glob(f"{stem}*.{suffix}"))
    if not files and kind == _SAFETENSORS:
        files = sorted(f for f in path.glob("*.safetensors") if not f.name.startswith(("adapter", "consolidated")))
    return _weight_files(files, kind) if files else None


def _weight_files(files: Sequence[Path], kind: tuple[str, str], owner: dict[str, Path] | None = None,
                  index: Path | None = None) -> WeightFiles:
    return WeightFiles(tuple(files), kind != _TORCH, owner or {}, index, is_mistral=kind == _MISTRAL)


def _of_index(index: Path, kind: tuple[str, str]) -> WeightFiles:
    try:
        weight_map = read_json(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: weight_map = {str(weight_map)[:80]}: expected an object "
                              "{tensor name: file name}.")
    for name, file in weight_map.items():
        if not isinstance(file, str) or not _is_inside(file):
            raise CheckpointError(f"{index}: weight_map[{name!r}] = {str(file)[:80]!r}: expected a file name in this "
                                  "folder.")
    owner = {name: index.parent / file for name, file in weight_map.items()}
    files = sorted(set(owner.values()))
    missing = [file for file in files if not file.exists()]
    if missing:
        raise CheckpointError(f"{index}: {len(missing)} of {len(files)} files are missing: "
                              f"{', '.join(file.name for file in missing[:10])}{', …' if len(missing) > 10 else ''}. "
                              "Download the model again, all of it.")
    return _weight_files(files, kind, owner, index)


def _is_inside(file: str) -> bool:
    path = PurePosixPath(file)
    return bool(path.parts) and "\0" not in file and not path.is_absolute() and ".." not in path.parts


def _what_is_there(path: Path) -> str:
    if not path.is_dir():
        return "The directory does not exist."
    names = sorted(entry.name for entry in path.iterdir())
    other = [name for name in names if name.endswith(_WEIGHT_SUFFIXES)]
    if any(name.endswith(".gguf") for name in other):
        return "There are .gguf files: pass the path of the one to run."
    shown = other or names
    there = f"The directory holds {', '.join(shown[:8])}{', …' if len(shown) > 8 else ''}." if shown else "It is empty."
    return f"{there} load_format=dummy runs with random weights."
