"""`count_tokens`: how many of an answer's tokens lie in parts of its text."""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.detokenizer import IncrementalDetokenizer


def count_tokens(detokenizer: IncrementalDetokenizer, token_ids: Sequence[int],
                 spans: Sequence[tuple[int, int]]) -> int:
    """The tokens whose text begins in one of the spans. detokenizer: a new one of the answer.

    spans: (begin, end) in the answer's text, in order.
    """
    place = count = 0
    for token_id in token_ids:
        if not spans or place >= spans[-1][1]:
            break
        count += any(begin <= place < end for begin, end in spans)
        place += len(detokenizer.push((token_id,)))
    return count
