"""A log line stays one line, and its values stay apart, whatever a client sent."""

import json
import random
import re

import pytest

from weft.server.log_line import log_line


def parsed(line: str) -> dict[str, str]:
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "]+)(?: |$)', line)
    return {name: json.loads(value) if value.startswith('"') else value for name, value in pairs}


@pytest.mark.parametrize("value, shown", [
    ("stop", "stop"), (None, "-"), (1.23456, "1.235"), (7, "7"), ("", '""'), ("-", '"-"'), ("a b", '"a b"'),
    ('say "no"', r'"say \"no\""'), ("a=b", '"a=b"'), ("a\nkey=root", r'"a\nkey=root"'), ("\x1b[2J", r'"\u001b[2J"'),
    ("\u2028\x85\x7f", r'"\u2028\u0085\u007f"'), ("\udc80", r'"\udc80"'), ("grün", r'"gr\u00fcn"'),
])
def test_a_value_is_plain_or_json(value, shown):
    assert log_line(name=value) == f"name={shown}"


def test_random_texts_are_read_back_from_one_printable_line():
    draw = random.Random(0)
    alphabet = ' \t\r\n\x00\x1b\x7f\x85=-,"\\abcä\u2028\U0001f600'
    for _ in range(5_000):
        texts = {name: "".join(draw.choices(alphabet, k=draw.randrange(1, 9))) for name in ("first", "second")}
        line = log_line(**texts)
        assert line.isascii() and line.isprintable()
        assert parsed(line) == texts
