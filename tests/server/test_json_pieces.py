"""Large JSON is decoded in pieces, with the result and the errors of one call."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from weft.server import json_pieces
from weft.server.json_pieces import TooManyLevelsError, decode_in_pieces

PLAIN: list[Any] = [1, -2.5, True, None, "", "a,b", 'q"[', "\\", "\\\\", "ä{]", "x" * 40, 10**20]
MARKS = [b",", b"]", b"}", b"[", b"{", b'"', b":", b"\\", b" ", b""]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(json_pieces, "PIECE_BYTES", 24)
    monkeypatch.setattr(json_pieces, "_PART_BYTES", 16)


def made(draw: random.Random, depth: int = 0) -> Any:
    """A random value of nested lists and objects."""
    kind = draw.random()
    if depth > 4 or kind < 0.3:
        return draw.choice(PLAIN)
    if kind < 0.65:
        return [made(draw, depth + 1) for _ in range(draw.randrange(5))]
    return {f"{draw.choice(PLAIN[4:10])}{i}": made(draw, depth + 1) for i in range(draw.randrange(5))}


def outcome(decode, text: bytes) -> Any:
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return type(error)


@pytest.mark.parametrize("seed", range(100))
def test_pieces_make_the_value_or_the_kind_of_error_of_one_call(seed):
    draw = random.Random(seed)
    values = [made(draw) for _ in range(3)]
    text = json.dumps(values, indent=draw.choice([None, 1]), ensure_ascii=seed % 2 == 0).encode()
    assert decode_in_pieces(text) == json.loads(text)

    broken, place = bytearray(text), draw.randrange(len(text))
    broken[place:place + draw.randrange(2)] = draw.choice(MARKS)
    assert outcome(decode_in_pieces, bytes(broken)) == outcome(msgspec.json.decode, bytes(broken))


def test_an_error_names_the_place_in_the_whole_text():
    with pytest.raises(msgspec.DecodeError, match=r"invalid character \(byte 71\)"):
        decode_in_pieces(b"[" + b"11111," * 10 + b"          x, 1]")


@pytest.mark.parametrize("text", [b"[" + b"11111," * 10 + b"]", b"[11111,,11111, 11111, 11111, 11111]"])
def test_nothing_between_two_commas_is_an_error(text):
    with pytest.raises(msgspec.DecodeError):
        decode_in_pieces(text)


def test_no_call_decodes_more_than_a_piece_of_many_items(monkeypatch):
    sizes, decode = [], msgspec.json.decode
    monkeypatch.setattr(msgspec.json, "decode", lambda text: (sizes.append(len(text)), decode(text))[1])

    decode_in_pieces(json.dumps({"a": list(range(200)), "b": [{"c": ["x"] * 100}] * 2}).encode())

    assert max(sizes) <= 24 + len("[]")


def test_large_lists_far_within_each_other_are_refused():
    with pytest.raises(TooManyLevelsError):
        decode_in_pieces(b"[" * 9 + b"1," * 30 + b"1" + b"]" * 9)


@pytest.mark.parametrize("text", [b"[" + b" " * 40 + b"]", b'{"a": {' + b"\n" * 40 + b"}, " + b'"b": 1}'])
def test_a_large_list_or_object_of_spaces_alone_is_empty(text):
    assert decode_in_pieces(text) == json.loads(text)
