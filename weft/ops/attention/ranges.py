"""`KeyRanges`: which keys each query of a step sees, as data. One function for each kind of mask.

A query sees the keys [first, end) of its own sequence, counted from the sequence's first token. Rows are queries 0 to 5
of one sequence, columns are keys 0 to 5, ■ is seen:

    causal        sliding_window(3)  bidirectional  chunked(3)     prefix_lm(3)   spans((2, 5))  cross, 4 keys
    ■ · · · · ·   ■ · · · · ·        ■ ■ ■ ■ ■ ■    ■ · · · · ·    ■ ■ ■ · · ·    ■ · · · · ·    ■ ■ ■ ■
    ■ ■ · · · ·   ■ ■ · · · ·        ■ ■ ■ ■ ■ ■    ■ ■ · · · ·    ■ ■ ■ · · ·    ■ ■ · · · ·    ■ ■ ■ ■
    ■ ■ ■ · · ·   ■ ■ ■ · · ·        ■ ■ ■ ■ ■ ■    ■ ■ ■ · · ·    ■ ■ ■ · · ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ · ·   · ■ ■ ■ · ·        ■ ■ ■ ■ ■ ■    · · · ■ · ·    ■ ■ ■ ■ · ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ ■ ·   · · ■ ■ ■ ·        ■ ■ ■ ■ ■ ■    · · · ■ ■ ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ ■ ■   · · · ■ ■ ■        ■ ■ ■ ■ ■ ■    · · · ■ ■ ■    ■ ■ ■ ■ ■ ■    ■ ■ ■ ■ ■ ■    ■ ■ ■ ■

Every function takes query_lens (S, queries of each sequence in the step) and seq_lens (S, its tokens in the cache after
the step). Query i of a sequence has the place seq_len - query_len + i. A query sees cached keys only: what it sees must
be in the cache when the step ends, so a prefix, a span and a bidirectional sequence are never cut by a chunk's end.
Causal steps and steps with a window need no arrays: a plan without ranges is causal (AttentionPlan.window).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from weft.errors import FieldError


class KeyRanges(NamedTuple):
    """first, end: [T] int32, the keys [first, end) that each query of a step sees; none where first >= end."""

    first: np.ndarray
    end: np.ndarray


def places(query_lens: Sequence[int], seq_lens: Sequence[int]) -> np.ndarray:
    """[T] int32, each query's place in its sequence."""
    return _starts(query_lens, seq_lens) + _counted(query_lens)


def causal(query_lens: Sequence[int], seq_lens: Sequence[int]) -> KeyRanges:
    """All keys up to the query's own."""
    at = places(query_lens, seq_lens)
    return KeyRanges(np.zeros_like(at), at + 1)


def sliding_window(query_lens: Sequence[int], seq_lens: Sequence[int], window: int) -> KeyRanges:
    """The last `window` keys up to the query's own. Source: arXiv:2310.06825."""
    at = places(query_lens, seq_lens)
    return KeyRanges(np.maximum(at + 1 - window, 0), at + 1)


def bidirectional(query_lens: Sequence[int], seq_lens: Sequence[int], radius: int | None = None) -> KeyRanges:
    """All keys of the sequence, or those at most `radius` tokens before or after the query (ModernBERT's local layers,
    arXiv:2412.13663).
    """
    lengths = _repeated(seq_lens, query_lens)
    if radius is None:
        return KeyRanges(np.zeros_like(lengths), lengths)
    at = places(query_lens, seq_lens)
    return KeyRanges(np.maximum(at - radius, 0), np.minimum(at + radius + 1, lengths))


def chunked(query_lens: Sequence[int], seq_lens: Sequence[int], chunk: int) -> KeyRanges:
    """Keys up to the query's own from the start of its chunk on; chunks have `chunk` tokens (Llama 4's
    attention_chunk_size).
    """
    at = places(query_lens, seq_lens)
    return KeyRanges(at // chunk * chunk, at + 1)


def prefix_lm(query_lens: Sequence[int], seq_lens: Sequence[int], prefix_lens: Sequence[int]) -> KeyRanges:
    """The first tokens of a sequence, prefix_lens [S] many, see each other; later ones are causal (PaliGemma,
    arXiv:2407.07726). FieldError where a prefix has a query but is not wholly in the cache.
    """
    return spans(query_lens, seq_lens, [[(0, n)] if n else [] for n in prefix_lens])


def spans(query_lens: Sequence[int], seq_lens: Sequence[int], seq_spans: Sequence[Sequence[tuple[int, int]]],
          window: int | None = None) -> KeyRanges:
    """Tokens of a span (an image's) see all of their span and, as every token, what is before them: all of it, or the
    last `window` keys (Gemma 3, arXiv:2503.19786).

    seq_spans: for each sequence the [first, end) of its spans. FieldError where a span has a query but is not wholly in
    the cache.
    """
    ranges = causal(query_lens, seq_lens) if window is None else sliding_window(query_lens, seq_lens, window)
    at, row = places(query_lens, seq_lens), 0
    for seq, (queries, length, own) in enumerate(zip(query_lens, seq_lens, seq_spans, strict=True)):
        for first, end in own:
            inside = row + np.flatnonzero((at[row : row + queries] >= first) & (at[row : row + queries] < end))
            if len(inside) and end > length:
                raise FieldError(f"seq_spans[{seq}]", (first, end),
                                 expected=f"an end of at most {length}, seq_lens[{seq}]",
                                 hint="Do not end a chunk within a span: its tokens see all of it.")
            ranges.first[inside] = np.minimum(ranges.first[inside], first)
            ranges.end[inside] = np.maximum(ranges.end[inside], end)
        row += queries
    return ranges


def cross(query_lens: Sequence[int], seq_lens: Sequence[int]) -> KeyRanges:
    """All keys of another stream, an encoder's: seq_lens are its tokens, query_lens those of the decoder."""
    return bidirectional(query_lens, seq_lens)


def _repeated(values: Sequence[int] | np.ndarray, query_lens: Sequence[int]) -> np.ndarray:
    """[T] int32: each sequence's value, once for each of its queries."""
    return np.repeat(np.asarray(values, dtype=np.int32), query_lens)


def _starts(query_lens: Sequence[int], seq_lens: Sequence[int]) -> np.ndarray:
    return _repeated(np.asarray(seq_lens, dtype=np.int32) - np.asarray(query_lens, dtype=np.int32), query_lens)


def _counted(query_lens: Sequence[int]) -> np.ndarray:
    """[T] int32: 0, 1, 2 ... within each sequence."""
    lens = np.asarray(query_lens, dtype=np.int32)
    return np.arange(lens.sum(), dtype=np.int32) - np.repeat(np.cumsum(lens, dtype=np.int32) - lens, lens)
