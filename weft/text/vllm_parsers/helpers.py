"""Small functions on texts that parsers written for vLLM import from `tool_parsers.utils`."""

from __future__ import annotations

import json


def find_common_prefix(s1: str, s2: str) -> str:
    """The longest text that both begin with."""
    length = next((i for i, (first, second) in enumerate(zip(s1, s2, strict=False)) if first != second),
                  min(len(s1), len(s2)))
    return s1[:length]


def find_common_suffix(s1: str, s2: str) -> str:
    """The longest text without letters and digits that both end with."""
    suffix = ""
    for first, second in zip(reversed(s1), reversed(s2), strict=False):
        if first != second or first.isalnum():
            break
        suffix = first + suffix
    return suffix


def extract_intermediate_diff(curr: str, old: str) -> str:
    """What `curr` has between the ends that it shares with `old`."""
    suffix = find_common_suffix(curr, old)
    old = old.removesuffix(suffix)
    rest = curr[len(find_common_prefix(curr, old)):]
    return rest.removesuffix(suffix)


def find_all_indices(string: str, substring: str) -> list[int]:
    """Every place of `substring`, overlapping ones too."""
    return [i for i in range(len(string)) if string.startswith(substring, i)]


def is_complete_json(input_str: str) -> bool:
    """Whether the text is JSON."""
    try:
        json.loads(input_str)
    except ValueError:
        return False
    return True


def consume_space(i: int, s: str) -> int:
    """The first place from `i` on that is no white space."""
    return i + len(s[i:]) - len(s[i:].lstrip())
