"""What a client sent, as a header's value: legal for every client, whatever the characters are."""

import random
import sys

import h11
import pytest

from weft.server.headers import header_value


def is_taken(value: str) -> bool:
    """Whether the HTTP library that the server and httpx use sends a response with this header value."""
    try:
        h11.Response(status_code=200, headers=[("X-Test", value.encode("latin-1"))])
    except h11.LocalProtocolError:
        return False
    return True


def test_every_character_of_unicode_gives_a_legal_value_or_none():
    for code in range(sys.maxunicode + 1):
        for text in (chr(code), f"{chr(code)}x", f"x{chr(code)}", f"x{chr(code)}y"):
            value = header_value(text, 64)
            assert value is None or (value == text and is_taken(value)), repr(text)


def test_random_texts_give_a_legal_value_or_none():
    draw = random.Random(0)
    alphabet = " \t\r\n\x00\x7f\x80az,:;\"\u00e4\u2028\U0001f600"
    for _ in range(20_000):
        text = "".join(draw.choices(alphabet, k=draw.randrange(8)))
        value = header_value(text, 5)
        assert value is None or (value == text and len(value) <= 5 and is_taken(value)), repr(text)


@pytest.mark.parametrize("text, value", [("a", "a"), ("a b", "a b"), ("a" * 64, "a" * 64), ("a" * 65, None), ("", None),
                                         (" ", None), (" a", None), ("a ", None)])
def test_printable_ascii_without_outer_spaces_is_kept(text, value):
    assert header_value(text, 64) == value
