"""Reads a tokenizer.json as it stands, with the settings of the files beside it: no transformers is imported.

`read_plain` gives a `BackendTokenizer`, or says why transformers must load the directory: a class with code of its own,
code of the checkpoint, files of other kinds. Called by `tokenizer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from weft.resolve.json_file import read_json_if_there
from weft.text.backend_tokenizer import NAMED_TOKENS, BackendTokenizer


@dataclass(frozen=True, slots=True)
class _Class:
    """A tokenizer class whose code adds no more to tokenizer.json than special tokens.

    stated: the special tokens that the files must name (otherwise the class's own depend on more than the files).
    defaults: those that the class has unless the files name others.
    """

    stated: tuple[str, ...] = ("eos_token",)
    defaults: tuple[tuple[str, str], ...] = ()


_CLASSES = {
    **dict.fromkeys(("PreTrainedTokenizer", "TokenizersBackend", "Qwen2Tokenizer", "GPT2Tokenizer", "GPTNeoXTokenizer"),
                    _Class()),
    "LlamaTokenizer": _Class(("unk_token", "bos_token", "eos_token")),
    "GemmaTokenizer": _Class(("unk_token", "bos_token", "eos_token", "pad_token"), (("mask_token", "<mask>"),)),
}
# Keys of tokenizer_config.json that only transformers heeds.
_OTHER_KEYS = ("auto_map", "fast_tokenizer_files", "fix_mistral_regex", "init_inputs")
_TOKEN_LISTS = ("extra_special_tokens", "additional_special_tokens")      # today's name, and the older one


def read_plain(directory: Path, in_transformers: Callable[[], Any]) -> BackendTokenizer | str:
    """The tokenizer of a directory, or the reason why transformers must load it.

    in_transformers: makes the same tokenizer with transformers. ConfigError for a JSON file that cannot be read;
    whatever `tokenizers` raises for a broken tokenizer.json.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        return "there is no tokenizer.json"
    values = read_json_if_there(directory / "tokenizer_config.json")
    name = str(values.get("tokenizer_class", ""))
    known = _CLASSES.get(name.removesuffix("Fast"))
    if known is None:
        return f"tokenizer_class is {name or 'not stated'}"
    for key in _OTHER_KEYS:
        if values.get(key):
            return f"tokenizer_config.json has {key}"
    if "added_tokens_decoder" not in values:
        values = values | _from_older_files(directory, values)
    missing = [key for key in known.stated if key not in values]
    if missing:
        return f"no file names {', '.join(missing)}"
    try:
        named, extra, added = _special_tokens(dict(known.defaults) | values)
    except (TypeError, ValueError) as error:
        return f"a special token is written in a way that only transformers reads: {error}"
    backend = Backend.from_file(str(path))
    if reason := _older_added_tokens(directory, backend):
        return reason
    backend.encode_special_tokens = bool(values.get("split_special_tokens", False))
    if (padding := backend.padding) is not None:
        named.setdefault("pad_token", padding["pad_token"])
    return BackendTokenizer(
        backend, named=named, extra=extra, added=added, chat_template=_chat_templates(directory, values),
        clean_up_tokenization_spaces=bool(values.get("clean_up_tokenization_spaces", False)),
        in_transformers=in_transformers)


def _special_tokens(values: dict[str, Any]) -> tuple[dict[str, str | AddedToken], list[str | AddedToken],
                                                     list[AddedToken]]:
    """(special tokens by name, special tokens without a name, added tokens by id) of tokenizer_config.json."""
    extra = next((values[key] for key in _TOKEN_LISTS if values.get(key)), [])
    own = {key: value for key, value in values.items()
           if key.endswith("_token") and key not in NAMED_TOKENS and isinstance(value, str | dict)}
    if isinstance(extra, dict):                # the model's own names, such as image_token
        own, extra = own | extra, []
    listed = {key: values[key] for key in NAMED_TOKENS if values.get(key) is not None}
    named = {key: _token(value) for key, value in (listed | own).items()}
    added = sorted((values.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0]))
    return named, list(map(_token, extra)), [AddedToken(**token) for _, token in added]


def _token(value: Any) -> str | AddedToken:
    """A token as it is written in JSON. TypeError for another form."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "content" in value and value.get("__type", "AddedToken") == "AddedToken":
        fields = {key: item for key, item in value.items() if key not in ("__type", "special")}
        return AddedToken(**fields, special=True)
    raise TypeError(repr(value))


def _from_older_files(directory: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The keys of special_tokens_map.json, which older checkpoints have beside tokenizer_config.json."""
    found = dict(read_json_if_there(directory / "special_tokens_map.json"))
    if isinstance(found.get("extra_special_tokens"), list):
        before = values.get("extra_special_tokens") or []
        found["extra_special_tokens"] = [*before, *(t for t in found["extra_special_tokens"] if t not in before)]
    return found


def _older_added_tokens(directory: Path, backend: Backend) -> str:
    """Why added_tokens.json must be read by transformers; "" if tokenizer.json has its tokens, or there is none."""
    known = {token.content: token_id for token_id, token in backend.get_added_tokens_decoder().items()}
    unlike = [token for token, token_id in read_json_if_there(directory / "added_tokens.json").items()
              if known.get(token) != token_id]
    return f"added_tokens.json has {unlike[0]!r}, and tokenizer.json has not" if unlike else ""


def _chat_templates(directory: Path, values: dict[str, Any]) -> str | dict[str, str] | None:
    """The chat template, or {name: template}: files of their own come before tokenizer_config.json's."""
    files: Iterable[Path] = sorted((directory / "additional_chat_templates").glob("*.jinja"))
    found = {path.stem: path.read_text(encoding="utf-8") for path in files}
    if (default := directory / "chat_template.jinja").is_file():
        found = {"default": default.read_text(encoding="utf-8")} | found
    if found:
        return found["default"] if found.keys() == {"default"} else found
    stated = values.get("chat_template")
    return {entry["name"]: entry["template"] for entry in stated} if isinstance(stated, list) else stated
