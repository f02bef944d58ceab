"""A mistral-common tokenizer (tekken.json or tokenizer.model.v*) with the interface of a transformers tokenizer.

Also finds its file in a folder, and decides whether tokenizer_mode `auto` uses it. mistral-common (extra `mistral`) is
imported only when such a tokenizer is loaded. Used by `tokenizer.py`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weft.errors import ConfigError
from weft.text.pieces import Kind, Pieces

TEKKEN = "tekken.json"
_VERSIONED = re.compile(r"tokenizer\.model\.v(\d+)(m\d+)?")
_UNVERSIONED = "tokenizer.model"      # the first version; mistral-common reads it too
_HUGGING_FACE = ("tokenizer.json", "tokenizer_config.json")


def mistral_file(directory: Path) -> Path | None:
    """A folder's file for mistral-common: tekken.json, else the newest tokenizer.model.v*, else tokenizer.model."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    versions = {name: (int(match[1]), match[2] or "") for name in names if (match := _VERSIONED.fullmatch(name))}
    found = [TEKKEN, *sorted(versions, key=versions.__getitem__, reverse=True), _UNVERSIONED]
    return next((directory / name for name in found if name in names), None)


def is_mistral_only(directory: Path) -> bool:
    """Whether a folder has a tokenizer for mistral-common and none in Hugging Face's format."""
    file = mistral_file(directory)
    if file is None or any((directory / name).is_file() for name in _HUGGING_FACE):
        return False
    has_hf_config = (directory / "config.json").is_file()
    return file.name != _UNVERSIONED or ((directory / "params.json").is_file() and not has_hf_config)


class MistralTokenizer:
    """The part of a transformers tokenizer's interface that weft and its users need, implemented with mistral-common.

    `encode` never turns text into special tokens, whatever the text spells; only `apply_chat_template` adds them.

    Attributes:
        mistral: the MistralTokenizer of mistral-common.
    """

    chat_template = None
    clean_up_tokenization_spaces = False
    added_tokens_decoder: Mapping[int, Any] = MappingProxyType({})      # special tokens are all in all_special_ids

    def __init__(self, path: Path) -> None:
        """ConfigError when mistral-common is not installed or cannot read the file."""
        self.mistral = _load(path)
        self._tokenizer = self.mistral.instruct_tokenizer.tokenizer
        self.all_special_ids = sorted(self._tokenizer.special_ids)
        self.bos_token_id, self.eos_token_id = self._tokenizer.bos_id, self._tokenizer.eos_id
        self.vocab_size = self._tokenizer.n_words
        self._is_tekken = path.name == TEKKEN

    def __len__(self) -> int:
        return self.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """{token: id}. Tokens that are only part of a character are all spelled alike; the dict has one of them."""
        return {token: token_id for token_id, token in enumerate(self._tokenizer.vocab())}

    def encode(self, text: str, add_special_tokens: bool = True, **_: Any) -> list[int]:
        """Token ids of a text, with the BOS token first if `add_special_tokens`."""
        return self._tokenizer.encode(text, bos=add_special_tokens, eos=False)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False, **_: Any) -> str:
        """The text of token ids; special tokens are spelled out, or left out if skip_special_tokens."""
        special = frozenset(self.all_special_ids)
        if skip_special_tokens:
            token_ids = [token_id for token_id in token_ids if token_id not in special]
        text = ""
        for is_special, run in groupby(token_ids, special.__contains__):
            ids = list(run)
            if is_special:
                text += "".join(map(self._tokenizer.id_to_piece, ids))
            else:
                text += self._after(ids) if text else self._tokenizer.decode(ids)
        return text

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
                            = None, *, add_generation_prompt: bool = True, continue_final_message: bool = False,
                            tokenize: bool = True, **settings: Any) -> list[int] | str:
        """A chat as token ids, or as readable text; the arguments are those of transformers' method of this name.

        add_generation_prompt: has no effect, because the format needs no generation prompt. settings: as in `chat_ids`.
        """
        token_ids = self.chat_ids(conversation, tools, continue_final_message=continue_final_message, **settings)
        return token_ids if tokenize else self.decode(token_ids)

    def chat_ids(self, conversation: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, *,
                 continue_final_message: bool, **settings: Any) -> list[int]:
        """A chat as token ids. Errors are mistral-common's own.

        settings: further fields of mistral-common's ChatCompletionRequest.
        """
        from mistral_common.protocol.instruct.request import ChatCompletionRequest

        request = ChatCompletionRequest.from_openai(
            list(map(dict, conversation)), tools=None if tools is None else list(map(dict, tools)),
            continue_final_message=continue_final_message, **settings)
        return self.mistral.encode_chat_completion(request).tokens

    def pieces(self) -> Pieces:
        """The pieces that single tokens add to a text: bytes, or with SentencePiece texts."""
        return Pieces(tokens=list(self._tokenizer.vocab()), special_ids=frozenset(self.all_special_ids),
                      kind=Kind.BYTES if self._is_tekken else Kind.SEGMENTS, decode=self.decode,
                      bytes_of=self._bytes if self._is_tekken else None)

    def _bytes(self, token_id: int) -> bytes:
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy

        return self._tokenizer.id_to_byte_piece(token_id, SpecialTokenPolicy.KEEP)

    def _after(self, token_ids: list[int]) -> str:
        """The text of tokens inside a text. (At the beginning SentencePiece drops the space before the first word.)"""
        anchor = self._tokenizer.encode("a", bos=False, eos=False)
        return self._tokenizer.decode([*anchor, *token_ids])[len(self._tokenizer.decode(anchor)):]


def _load(path: Path) -> Any:
    needed = ("mistral_common",) if path.name == TEKKEN else ("mistral_common", "sentencepiece")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError("tokenizer", str(path), expected="mistral-common, which reads this file, installed",
                          hint=f"Run pip install 'weft[mistral]': {' and '.join(missing)} cannot be imported.")
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer as Loaded

    try:
        return Loaded.from_file(str(path))
    except Exception as error:      # mistral-common raises many types; the cause is always this file
        raise ConfigError("tokenizer", str(path), expected="a tokenizer that mistral-common can read",
                          hint=f"{type(error).__name__}: {error}") from error
