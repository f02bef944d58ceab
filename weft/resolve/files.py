"""Finds the files that engine options name: model, tokenizer, config and model file.

The embedded model is in the package; all other names are looked up by `sources/`, on disk or on a hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import weft.embedded
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.gguf.files import is_remote_gguf, split_remote_gguf
from weft.resolve.sources.find import Found, find
from weft.resolve.sources.repository import Access
from weft.resolve.sources.wanted import Wanted

EMBEDDED_NAME = "weft-embedded"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Where a model's files are. name: the model as the user named it; source: how the folder was found.

    gguf: the GGUF file that holds the model's weights and metadata (any part of a split file), or None.
    """

    name: str
    directory: Path
    source: str
    gguf: Path | None = None


def find_model(args: EngineArgs) -> ModelFiles:
    """The files of `args.model`, downloaded where needed. ConfigError says where the model was looked for."""
    if args.model in (None, EMBEDDED_NAME):
        _check_format(args, is_gguf=False)
        return ModelFiles(EMBEDDED_NAME, weft.embedded.path(), "embedded")
    if is_remote_gguf(args.model):
        _check_format(args, is_gguf=True)
    weights = {"dummy": "none", "auto": "mistral" if args.config_format == "mistral" else "auto"}.get(
        args.load_format, args.load_format)
    found = find(args.model, revision=args.revision, access=_access(args),
                 want=Wanted(weights=weights, has_code=args.trust_remote_code))
    _check_format(args, is_gguf=found.gguf is not None)
    return ModelFiles(args.model, found.directory, found.origin, found.gguf)


def find_tokenizer(args: EngineArgs, model: ModelFiles) -> Path:
    """The folder of the tokenizer, or the GGUF file that holds it: `args.tokenizer`, or the model's own.

    A tokenizer with the model's name and revision is taken from the model's files, so that both are of one commit.
    """
    name = args.tokenizer or args.model
    if name is None or (name == args.model and args.tokenizer_revision in (None, args.revision)):
        has_own = (model.directory / "tokenizer.json").is_file()
        return model.directory if model.gguf is None or has_own else model.gguf
    found = find(name, revision=args.tokenizer_revision, access=_access(args), field="tokenizer",
                 want=Wanted(weights="none", has_code=args.trust_remote_code))
    return found.gguf or found.directory


def find_config_files(model: str | Path, *, revision: str | None = None, token: str | None = None,
                      has_code: bool = False, field: str = "model") -> Found:
    """A model's config and its other small files, without weights. Errors as from `find`.

    has_code: Python files too. field: the option that names the model, for errors.
    """
    name = split_remote_gguf(model)[0] if is_remote_gguf(model) else str(model)
    return find(name, revision=revision, access=Access(token=token), field=field,
                want=Wanted(weights="none", has_code=has_code))


def find_model_file(name: str) -> Path:
    """The absolute path of the Python file that describes or programs a model. ConfigError when it does not exist."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError("model_file", name, expected="a Python file that exists",
                          hint=f"{path.absolute()} {'is a directory' if path.is_dir() else 'does not exist'}.")
    return path.resolve()


def _check_format(args: EngineArgs, *, is_gguf: bool) -> None:
    if is_gguf and args.load_format not in ("auto", "gguf", "dummy"):
        raise ConfigError("load_format", args.load_format, expected="auto or gguf, because the model is a GGUF file",
                          source=args.model or "")
    if not is_gguf and args.load_format == "gguf":
        raise ConfigError("load_format", args.load_format, source=args.model or EMBEDDED_NAME,
                          expected="another format, because the model is no GGUF file")


def _access(args: EngineArgs) -> Access:
    return Access(token=args.hf_token, download_dir=args.download_dir)
