"""`RepetitionDetectionParams`: when an answer that says the same again and again is ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from weft.errors import RequestError
from weft.field_checks import check_whole

FIELD = "repetition_detection"
MAX_PATTERN_SIZE = 1024      # tokens; so many lengths may be compared after each token
_MAX_COUNT = 1024


class RepetitionDetectionParams(msgspec.Struct, kw_only=True, frozen=True):
    """An answer ends with finish_reason "repetition" when its last tokens are one pattern, min_count times in a row.

    A wrong value is a `RequestError`.

    Attributes:
        max_pattern_size, min_pattern_size: the longest and the shortest pattern, in tokens; 0 as the longest: off.
        min_count: 2 or more.
    """

    max_pattern_size: int = 0
    min_pattern_size: int = 0
    min_count: int = 0

    def __post_init__(self) -> None:
        check_whole(f"{FIELD}.max_pattern_size", self.max_pattern_size, 0, MAX_PATTERN_SIZE)
        check_whole(f"{FIELD}.min_pattern_size", self.min_pattern_size, 0, self.max_pattern_size)
        if self.max_pattern_size:
            check_whole(f"{FIELD}.min_count", self.min_count, 2, _MAX_COUNT)

    def found_in(self, token_ids: Sequence[int], start: int) -> bool:
        """Whether `token_ids` from `start` on end with such a repetition."""
        end = len(token_ids)
        for size in range(max(self.min_pattern_size, 1), self.max_pattern_size + 1):
            first = end - size * self.min_count
            if first < start:
                return False
            # Each of the last tokens equals the one a pattern's length before it.
            if all(token_ids[i] == token_ids[i - size] for i in range(end - 1, first + size - 1, -1)):
                return True
        return False


def read_repetition_detection(value: Any) -> RepetitionDetectionParams | None:
    """The parameters, also from a dictionary; None where they are off. RequestError for anything else."""
    if isinstance(value, dict):
        unknown = set(value) - set(RepetitionDetectionParams.__struct_fields__)
        if unknown:
            raise RequestError(f"{FIELD}.{min(unknown, key=str)}", value[min(unknown, key=str)],
                               expected=f"one of {', '.join(RepetitionDetectionParams.__struct_fields__)}")
        value = RepetitionDetectionParams(**value)
    if not isinstance(value, RepetitionDetectionParams):
        raise RequestError(FIELD, value, expected="an object with max_pattern_size and min_count")
    return value if value.max_pattern_size else None
