"""`Pieces`: the text or bytes that one token adds to a text, for every kind of decoder that a tokenizer may have.

Knows the tokenizer's decoder and special tokens, but no request. Its only state is a cache of pieces. `tokenizer.py`
builds it; `joiner.py` joins pieces to text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Kind(Enum):
    """How the text of many tokens follows from the pieces of single tokens."""

    BYTES = "bytes"         # a token is a string of bytes; the text is the UTF-8 decoding of all bytes (byte-level BPE)
    SEGMENTS = "segments"   # a token, or an unbroken run of byte tokens, adds the same text beside any neighbours
    WINDOW = "window"       # any other decoder: several tokens must be decoded together


class Pieces:
    """The pieces of one tokenizer.

    tokens: the token of each id, None where the vocabulary has a gap. special_ids: ids that `skip_special_tokens`
    leaves out. decode: ids to text, special tokens spelled out. has_byte_tokens: tokens like `<0xE4>` are bytes.
    bytes_of: the bytes of a token, given its id; needed for Kind.BYTES.
    """

    def __init__(self, *, tokens: list[str | None], special_ids: frozenset[int], kind: Kind,
                 decode: Callable[[list[int]], str], has_byte_tokens: bool = True,
                 bytes_of: Callable[[int], bytes] | None = None) -> None:
        self._tokens, self.special_ids, self.kind = tokens, special_ids, kind
        self._decode, self._bytes_of = decode, bytes_of
        self._byte_of = _byte_tokens(tokens) if has_byte_tokens and kind is not Kind.BYTES else {}
        self._inner: dict[int, str] = {}
        self._bytes: dict[int, bytes] = {}
        self._anchor = self._find_anchor() if self.kind is Kind.SEGMENTS else None
        if self.kind is Kind.SEGMENTS and self._anchor is None:
            self.kind = Kind.WINDOW

    @property
    def num_ids(self) -> int:
        """The largest id of the vocabulary, added tokens included, plus one."""
        return len(self._tokens)

    def token(self, token_id: int) -> str | None:
        """The token as the vocabulary spells it; None for an id outside it."""
        return self._tokens[token_id] if 0 <= token_id < len(self._tokens) else None

    def byte(self, token_id: int) -> int | None:
        """The value of a byte token such as `<0xE4>`; None for every other token."""
        return self._byte_of.get(token_id)

    def bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; empty for an id outside the vocabulary."""
        known = self._bytes.get(token_id)
        if known is None:
            known = self._bytes[token_id] = self._find_bytes(token_id)
        return known

    def first(self, token_ids: Sequence[int]) -> str:
        """The text of tokens at the beginning of a text."""
        return self._decode(list(token_ids))

    def inner(self, token_ids: Sequence[int]) -> str:
        """The text that one token, or one run of byte tokens, adds in the middle of a text."""
        if len(token_ids) > 1:
            return self._after_anchor(token_ids)
        known = self._inner.get(token_ids[0])
        if known is None:
            known = self._inner[token_ids[0]] = self._after_anchor(token_ids)
        return known

    def text(self, token_id: int) -> str:
        """The text of one token, with its leading space; half a character is U+FFFD, an unknown id is ""."""
        if self.token(token_id) is None:
            return ""
        if self.kind is Kind.BYTES:
            return self.bytes(token_id).decode("utf-8", "replace")
        return self.inner([token_id]) if self.kind is Kind.SEGMENTS else self.first([token_id])

    def _after_anchor(self, token_ids: Sequence[int]) -> str:
        assert self._anchor is not None, "only segments are decoded behind an anchor"
        anchor_id, anchor_text = self._anchor
        return self.first([anchor_id, *token_ids])[len(anchor_text):]

    def _find_anchor(self) -> tuple[int, str] | None:
        """(id, text) of a plain word. Tokens decoded after it are not at the beginning of a text."""
        for token_id, token in enumerate(self._tokens):
            if token and token.isalnum() and token_id not in self.special_ids:
                text = self.first([token_id])
                if text.strip():
                    return token_id, text
        return None

    def _find_bytes(self, token_id: int) -> bytes:
        token, byte = self.token(token_id), self.byte(token_id)
        if token is None:
            return b""
        if byte is not None:
            return bytes((byte,))
        if self.kind is not Kind.BYTES:
            return self.text(token_id).encode("utf-8", "replace")
        assert self._bytes_of is not None, "tokens that are bytes have a bytes_of"
        return self._bytes_of(token_id)


def pieces_of(hf: Any, special_ids: frozenset[int]) -> Pieces:
    """The pieces of a transformers tokenizer."""
    tokens, decoders = _tokens(hf), _decoders(hf)
    return Pieces(
        tokens=tokens, special_ids=special_ids, kind=_kind(decoders),
        decode=partial(hf.decode, skip_special_tokens=False, clean_up_tokenization_spaces=False),
        has_byte_tokens=decoders is None or any(d["type"] == "ByteFallback" for d in decoders),
        bytes_of=lambda token_id: _spelled_bytes(tokens[token_id] or ""))


def _spelled_bytes(token: str) -> bytes:
    """The bytes of a token of byte-level BPE. An added token may have other characters; it stands for its own text."""
    values = [value for char in token if (value := _BYTE_OF.get(char)) is not None]
    return bytes(values) if len(values) == len(token) else token.encode("utf-8", "replace")


def _byte_alphabet() -> dict[str, int]:
    """{character: byte} of byte-level BPE. Source: GPT-2's encoder.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, are the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _tokens(hf: Any) -> list[str | None]:
    """The token of each id; None where the vocabulary has a gap."""
    vocab = hf.get_vocab()
    tokens: list[str | None] = [None] * (max(vocab.values(), default=-1) + 1)
    for token, token_id in vocab.items():
        tokens[token_id] = token
    # Two ids may have the same spelling, and `vocab` has only one of them.
    return [hf.convert_ids_to_tokens(i) if token is None else token for i, token in enumerate(tokens)]


def _byte_tokens(tokens: list[str | None]) -> dict[int, int]:
    """{id: byte} for tokens such as `<0xE4>`."""
    matches = ((i, _BYTE_TOKEN.fullmatch(token)) for i, token in enumerate(tokens)
               if isinstance(token, str) and len(token) == len("<0xE4>"))
    return {i: int(match[1], 16) for i, match in matches if match}


def _decoders(hf: Any) -> list[dict[str, Any]] | None:
    """The steps of the tokenizer's decoder; [] if it only puts spaces between tokens; None if it is Python code."""
    backend = getattr(hf, "backend_tokenizer", None)
    if backend is None:
        return None
    if backend.decoder is None:
        return []
    spec = json.loads(backend.decoder.__getstate__())
    return spec["decoders"] if spec["type"] == "Sequence" else [spec]


def _kind(decoders: list[dict[str, Any]] | None) -> Kind:
    if decoders is None:
        return Kind.WINDOW
    if [d["type"] for d in decoders if d["type"] != "Fuse"] == ["ByteLevel"]:
        return Kind.BYTES
    is_fused = False
    for decoder in decoders:
        if not _keeps_segments_apart(decoder, is_fused):
            return Kind.WINDOW
        is_fused = is_fused or decoder["type"] == "Fuse"
    return Kind.SEGMENTS


def _keeps_segments_apart(decoder: dict[str, Any], is_fused: bool) -> bool:
    """True when, after this step, a token's text does not depend on its neighbours, except at the text's beginning."""
    match decoder["type"]:
        case "Fuse" | "WordPiece" | "ByteFallback" | "Metaspace":
            return True
        case "Replace":   # on fused text a pattern of several characters may span tokens
            return not is_fused or len(decoder["pattern"].get("String", "??")) == 1
        case "Strip":     # on fused text it strips the ends of the whole text
            return not is_fused or (decoder["start"] <= 1 and decoder["stop"] == 0)
    return False
