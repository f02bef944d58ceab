"""Models on the Hugging Face hub: downloads what weft needs of one and returns its folder in the local cache.

The only place that depends on HF_* environment variables (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT), which
`huggingface_hub` reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import httpx
import huggingface_hub
from huggingface_hub import constants, errors

from weft.errors import ConfigError

_TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "tokenizer*")
_NOT_NEEDED = ("original/*", "metal/*", "onnx/*", "openvino/*", "coreml/*", "gguf/*", "consolidated*",
               "*/consolidated*", "training_args*", "optimizer*", "runs/*")
_WEIGHTS = {"safetensors": ("*.safetensors",), "pt": ("*.bin",), "dummy": ()}


def download(repo_id: str, *, revision: str | None = None, token: str | None = None, download_dir: str | None = None,
             load_format: str = "auto", has_code: bool = False, field: str = "model") -> Path:
    """The folder that holds a repository's config, tokenizer and weights, downloaded where needed.

    load_format "auto" takes safetensors, or PyTorch files when the repository has no safetensors; "dummy" no weights.
    has_code: Python files too (trust_remote_code). ConfigError about `field` when the repository cannot be reached.
    """
    try:
        if load_format == "auto":
            load_format = _format(repo_id, revision, token)
        patterns = [*_TEXT_FILES, *_WEIGHTS[load_format], *(("*.py",) if has_code else ())]
        return Path(huggingface_hub.snapshot_download(
            repo_id, revision=revision, token=token, cache_dir=download_dir, allow_patterns=patterns,
            ignore_patterns=list(_NOT_NEEDED)))
    except Exception as error:
        raise ConfigError(field, repo_id, expected="a local directory or a model on the hub that can be reached",
                          hint=_reason(error, repo_id, revision)) from error


def is_repo_id(name: str) -> bool:
    """True when the hub could have a model of this name."""
    try:
        huggingface_hub.utils.validate_repo_id(name)
    except errors.HFValidationError:
        return False
    return name.count("/") <= 1


def weight_format(files: Iterable[str]) -> str:
    """The format of load_format "auto" for these file names."""
    used = [name for name in files if not any(fnmatch(name, pattern) for pattern in _NOT_NEEDED)]
    if any(name.endswith(".safetensors") for name in used) or not any(name.endswith(".bin") for name in used):
        return "safetensors"
    return "pt"


def _format(repo_id: str, revision: str | None, token: str | None) -> str:
    if constants.HF_HUB_OFFLINE:
        return "safetensors"       # nothing is downloaded: the snapshot in the cache is taken as it is
    try:
        return weight_format(huggingface_hub.HfApi(token=token).list_repo_files(repo_id, revision=revision))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except (OSError, httpx.HTTPError):
        return "safetensors"       # no connection: snapshot_download looks in the cache and reports what is wrong


def _reason(error: Exception, repo_id: str, revision: str | None) -> str:
    """What was tried and what to do, from an error of huggingface_hub."""
    tried = f"There is no directory {repo_id!r} here, and"
    where = f"{constants.ENDPOINT}/{repo_id}" + (f" at revision {revision}" if revision else "")
    if isinstance(error, errors.GatedRepoError):
        return f"{tried} {where} wants its licence accepted: do so on its page and pass hf_token."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{tried} {constants.ENDPOINT}/{repo_id} has no revision {revision!r}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{tried} {where} does not exist, or is private: check the name, or pass hf_token."
    if constants.HF_HUB_OFFLINE:
        return f"{tried} {repo_id} is not in the hub's local cache, and HF_HUB_OFFLINE forbids to download it."
    return f"{tried} {where} could not be read: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
