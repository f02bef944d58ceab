"""From a model's name to the folder that holds its files: the embedded model, a local directory, or the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import weft.embedded
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError, NotBuiltError
from weft.resolve import hub
from weft.resolve.gguf_files import is_remote_gguf, local_gguf

EMBEDDED_NAME = "weft-embedded"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files are. name: as the user gave it; source: how the folder was found.

    gguf: the model's weights and metadata when they are a GGUF file (of a split one any part), else None.
    """

    name: str
    directory: Path
    source: str
    gguf: Path | None = None


def find_model(args: EngineArgs) -> ModelFiles:
    """The folder of `args.model`. ConfigError saying what was tried."""
    if args.model is None:
        return ModelFiles(EMBEDDED_NAME, weft.embedded.path(), "embedded")
    gguf = local_gguf(args.model)
    if gguf is not None and args.load_format in ("auto", "gguf", "dummy"):
        return ModelFiles(args.model, gguf.parent, "local GGUF file", gguf)
    if (gguf is not None) != (args.load_format == "gguf"):
        raise ConfigError("load_format", args.load_format, expected="auto or gguf, because the model is a GGUF file"
                          if gguf else "another format, because the model is no GGUF file", source=args.model)
    directory, source = _find(args.model, args, field="model", revision=args.revision, load_format=args.load_format)
    return ModelFiles(args.model, directory, source)


def find_tokenizer(args: EngineArgs, model: ModelFiles) -> Path:
    """The folder of the tokenizer, or the GGUF file that holds it: `args.tokenizer`, or the model's own."""
    if args.tokenizer is None:
        has_own = (model.directory / "tokenizer.json").is_file()
        return model.directory if model.gguf is None or has_own else model.gguf
    gguf = local_gguf(args.tokenizer)
    if gguf is not None:
        return gguf
    return _find(args.tokenizer, args, field="tokenizer", revision=args.tokenizer_revision, load_format="dummy")[0]


def find_model_file(name: str) -> Path:
    """The absolute path of a Python file that describes an architecture."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError("model_file", name, expected="a Python file that exists",
                          hint=f"{path.absolute()} {'is a directory' if path.is_dir() else 'does not exist'}.")
    return path.resolve()


def _find(name: str, args: EngineArgs, *, field: str, revision: str | None, load_format: str) -> tuple[Path, str]:
    if not name.strip():
        raise ConfigError(field, name, expected="a directory or a hub id")
    try:
        path = Path(name).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:       # too long, or a home that nobody has
        raise ConfigError(field, name, expected="a directory or a hub id", hint=f"{error}.") from error
    if is_directory:
        return path.resolve(), "local directory"
    if exists:
        raise ConfigError(field, name, expected="a directory or a .gguf file",
                          hint=f"Pass its directory: {path.parent}.")
    if is_remote_gguf(name):
        raise NotBuiltError(field, name, expected="a GGUF file on this machine",
                            hint="weft does not download single GGUF files yet: do, and pass the path.")
    if looks_like_path(name) or not hub.is_repo_id(name):
        raise ConfigError(field, name, expected="a directory that exists", hint=_nearest(path))
    return hub.download(name, revision=revision, token=args.hf_token, download_dir=args.download_dir,
                        load_format=load_format, has_code=args.trust_remote_code, field=field), "hub"


def looks_like_path(name: str) -> bool:
    """True for a name that cannot have been meant as a hub id."""
    return name.startswith(("/", "./", "../", "~", ".\\", "\\")) or name.endswith("/") or name.count("/") > 1 or (
        Path(name).suffix in (".safetensors", ".bin", ".gguf", ".json", ".pt"))


def _nearest(path: Path) -> str:
    """The longest part of a path that exists."""
    absolute = path.absolute()
    parent = next((p for p in absolute.parents if p.exists()), absolute.anchor)
    return f"{absolute} does not exist ({parent} does)."
