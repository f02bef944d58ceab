"""`Wanted`: which files of a repository are needed. All functions map file names to file names; no file is opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from weft.resolve.gguf.files import SUFFIX, choose_gguf_file, part_names

_SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.codes", "*.bpe", "tokenizer*", "vocab*")
_CODE = ("*.py",)
_OTHER_FOLDERS = ("original", "metal", "onnx", "openvino", "coreml", "gguf", "runs", "checkpoint-*", ".*")
_OTHER_FILES = ("training_args*", "optimizer*", "scheduler*", "rng_state*", "trainer_state*", ".*")
# Files that a cache must hold if the repository lists them. Other small files may be missing.
_NEEDED = ("config.json", "params.json", "adapter_config.json", "tokenizer*", "tekken.json", "*.model", "*.tiktoken",
           "vocab*", "merges.txt", "*.index.json", "*.safetensors", "*.bin", f"*{SUFFIX}", "*.py")
_INDEX = {"safetensors": "model.safetensors.index.json", "pt": "pytorch_model.bin.index.json"}
# Format -> patterns of its files at the repository's root; the first pattern that matches is used.
_PATTERNS = {"safetensors": ("model.safetensors", "model*.safetensors", "*.safetensors"),
             "pt": ("pytorch_model.bin", "pytorch_model*.bin"),
             "mistral": ("consolidated*.safetensors",),
             "adapter": ("adapter_model.safetensors", "adapter_model.bin")}
_AUTO = ("safetensors", "pt", "mistral")
_MODULE = re.compile(r"\d+_\w+/[^/]+\.(safetensors|bin)")       # sentence-transformers: 2_Dense/model.safetensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which files to take from a repository; config, tokenizer and processor files are always taken.

    weights: auto (safetensors, else PyTorch's, else Mistral's, else the only GGUF model), safetensors, pt, mistral,
    gguf, adapter, or none. gguf: QUANT or path of the GGUF model that is meant. has_code: Python files too. include:
    patterns; if there are any, only the files that match one are taken.
    """

    weights: str = "auto"
    gguf: str | None = None
    has_code: bool = False
    include: tuple[str, ...] = ()


MODEL = Wanted()
TOKENIZER = PROCESSOR = Wanted(weights="none")
ADAPTER = Wanted(weights="adapter")


def small_files(names: Collection[str], wanted: Wanted) -> list[str]:
    """The files that are read before the weights; with `include` all matching files."""
    if wanted.include:
        return sorted(name for name in names if _matches(name, wanted.include))
    index = index_file(names, wanted)
    patterns = (*_SMALL, *(_CODE if wanted.has_code else ()))
    return sorted(name for name in _usable(names) if _matches(PurePosixPath(name).name, patterns)
                  and (not name.endswith(".index.json") or name == index))


def index_file(names: Collection[str], wanted: Wanted) -> str | None:
    """The index file that lists the shards of the chosen format, or None."""
    index = _INDEX.get(_format(names, wanted) or "")
    return index if index in names else None


def weight_files(names: Collection[str], wanted: Wanted, shards: Sequence[str] = (), *, source: str = "") -> list[str]:
    """The weight files. shards: the files that the index names; source: the repository, for errors.

    ConfigError when GGUF is wanted, or the only format present, and not exactly one model fits.
    """
    if wanted.include or wanted.weights == "none":
        return []
    if shards:
        return [*sorted(shards), *_modules(names)]
    kind = _format(names, wanted)
    if kind == "gguf":
        return gguf_parts(names, choose_gguf_file(names, wanted.gguf, source=source))
    return [*_weights_of(kind, names), *_modules(names)] if kind else []


def gguf_parts(names: Collection[str], name: str) -> list[str]:
    """All files of the GGUF model that the file `name` belongs to. name: a path in the repository."""
    path = PurePosixPath(name)
    return [str(path.with_name(part)) for part in part_names(path.name)]


def is_needed(name: str) -> bool:
    """False for a file that a model may lack: a licence, a README, another library's settings."""
    return _matches(PurePosixPath(name).name, _NEEDED)


def assumed(names: Collection[str], wanted: Wanted) -> set[str]:
    """Files that a repository must have, for one whose file list is incomplete."""
    if wanted.include or wanted.weights == "none":
        return set()
    if wanted.weights == "adapter":
        return {"adapter_config.json", *([] if _format(names, wanted) else ["adapter_model.safetensors"])}
    kind = _format(names, wanted)
    if kind is None:
        return {"config.json", "pytorch_model.bin" if wanted.weights == "pt" else "model.safetensors"}
    return {"config.json"} if kind in _INDEX else set()


def _format(names: Collection[str], wanted: Wanted) -> str | None:
    """The format of the weights to take; None when there are no such weights, or none are wanted."""
    if wanted.include or wanted.weights == "none":
        return None
    if wanted.gguf or wanted.weights == "gguf":
        return "gguf"
    for kind in _AUTO if wanted.weights == "auto" else (wanted.weights,):
        if _INDEX.get(kind) in names or _weights_of(kind, names):
            return kind
    has_gguf = wanted.weights == "auto" and any(name.lower().endswith(SUFFIX) for name in names)
    return "gguf" if has_gguf else None


def _weights_of(kind: str, names: Iterable[str]) -> list[str]:
    here = [name for name in _usable(names) if "/" not in name]
    if kind == "safetensors":
        here = [name for name in here if not name.startswith(("adapter", "consolidated"))]
    found = ([name for name in here if fnmatchcase(name, pattern)] for pattern in _PATTERNS[kind])
    return sorted(next((files for files in found if files), []))


def _modules(names: Iterable[str]) -> list[str]:
    found = sorted(name for name in names if _MODULE.fullmatch(name))
    best = {name.partition("/")[0]: name for name in sorted(found, key=lambda name: name.endswith(".safetensors"))}
    return sorted(best.values())


def _usable(names: Iterable[str]) -> list[str]:
    paths = ((name, PurePosixPath(name).parts) for name in names)
    return [name for name, (*folders, file) in paths
            if not _matches(file, _OTHER_FILES) and not any(_matches(folder, _OTHER_FOLDERS) for folder in folders)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
