"""`KeyRanges`: the attention mask as data, the keys that each query of a step sees. Each kind of mask has a function.

A query sees the keys [first, end) of its sequence, counted from the sequence's first token. In the drawings rows are
queries 0 to 5 of one sequence, columns are keys 0 to 5, and ■ is a key that the query sees:

    causal        sliding_window(3)  bidirectional  chunked(3)     prefix_lm(3)   spans((2, 5))  cross, 4 keys
    ■ · · · · ·   ■ · · · · ·        ■ ■ ■ ■ ■ ■    ■ · · · · ·    ■ ■ ■ · · ·    ■ · · · · ·    ■ ■ ■ ■
    ■ ■ · · · ·   ■ ■ · · · ·        ■ ■ ■ ■ ■ ■    ■ ■ · · · ·    ■ ■ ■ · · ·    ■ ■ · · · ·    ■ ■ ■ ■
    ■ ■ ■ · · ·   ■ ■ ■ · · ·        ■ ■ ■ ■ ■ ■    ■ ■ ■ · · ·    ■ ■ ■ · · ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ · ·   · ■ ■ ■ · ·        ■ ■ ■ ■ ■ ■    · · · ■ · ·    ■ ■ ■ ■ · ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ ■ ·   · · ■ ■ ■ ·        ■ ■ ■ ■ ■ ■    · · · ■ ■ ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■ ■ ·    ■ ■ ■ ■
    ■ ■ ■ ■ ■ ■   · · · ■ ■ ■        ■ ■ ■ ■ ■ ■    · · · ■ ■ ■    ■ ■ ■ ■ ■ ■    ■ ■ ■ ■ ■ ■    ■ ■ ■ ■

Every function takes query_lens (S, queries of each sequence in the step) and seq_lens (S, tokens of each sequence in
the cache after the step). Query i of a sequence has the place seq_len - query_len + i. All keys that a query sees must
be in the cache when the step ends. So a chunk must not end within a prefix, a span or a bidirectional sequence.
Causal steps and steps with a window need no arrays: a plan without ranges is causal (AttentionPlan.window).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from weft.errors import FieldError


class KeyRanges(NamedTuple):
    """first, end: [T] int32, the keys [first, end) that each query of a step sees; no key where first >= end."""

    first: np.ndarray
    end: np.ndarray


def places(query_lens: Sequence[int], seq_lens: Sequence[int]) -> np.ndarray:
    """[T] int32, each query's place in its sequence."""
    return _starts(query_lens, seq_lens) + _counted(query_lens)


def causal(query_lens: Sequence[int], seq_lens: Sequence[int]) -> KeyRanges:
    """Each query sees all keys up to its own."""
    at = places(query_lens, seq_lens)
    return KeyRanges(np.zeros_like(at), at + 1)


def sliding_window(query_lens: Sequence[int], seq_lens: Sequence[int], window: int) -> KeyRanges:
    """Each query sees the last `window` keys up to its own. Source: arXiv:2310.06825."""
    at = places(query_lens, seq_lens)
    return KeyRanges(np.maximum(at + 1 - window, 0), at + 1)


def bidirectional(query_lens: Sequence[int], seq_lens: Sequence[int], radius: int | None = None) -> KeyRanges:
    """Each query sees all keys of its sequence, or those at most `radius` tokens before or after the query
    (ModernBERT's local layers, arXiv:2412.13663).
    """
    lengths = _repeated(seq_lens, query_lens)
    if radius is None:
        return KeyRanges(np.zeros_like(lengths), lengths)
    at = places(query_lens, seq_lens)
    return KeyRanges(np.maximum(at - radius, 0), np.minimum(at + radius + 1, lengths))


def chunked(query_lens: Sequence[int], seq_lens: Sequence[int], chunk: int) -> KeyRanges:
    """Each query sees the keys from the start of its chunk up to its own; a chunk has `chunk` tokens (Llama 4's
    attention_chunk_size).
    """
    at = places(query_lens, seq_lens)
    return KeyRanges(at // chunk * chunk, at + 1)


def prefix_lm(query_lens: Sequence[int], seq_lens: Sequence[int], prefix_lens: Sequence[int]) -> KeyRanges:
    """The tokens of a sequence's prefix see the whole prefix; later tokens are causal (PaliGemma, arXiv:2407.07726).

    prefix_lens: S, tokens of each prefix. FieldError where a prefix has a query but is not wholly in the cache.
    """
    return spans(query_lens, seq_lens, [[(0, n)] if n else [] for n in prefix_lens])


def spans(query_lens: Sequence[int], seq_lens: Sequence[int], seq_spans: Sequence[Sequence[tuple[int, int]]],
          window: int | None = None) -> KeyRanges:
    """A token of a span (an image) sees its whole span. Besides, every token sees the keys up to its own: all of them,
    or the last `window` (Gemma 3, arXiv:2503.19786).

    seq_spans: the [first, end) of each span, for each sequence. FieldError where a span has a query but is not wholly
    in the cache.
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
    """Each query sees all keys of an encoder: seq_lens are the encoder's tokens, query_lens the decoder's."""
    return bidirectional(query_lens, seq_lens)


def _repeated(values: Sequence[int] | np.ndarray, query_lens: Sequence[int]) -> np.ndarray:
    """[T] int32: each sequence's value, repeated for each of its queries."""
    return np.repeat(np.asarray(values, dtype=np.int32), query_lens)


def _starts(query_lens: Sequence[int], seq_lens: Sequence[int]) -> np.ndarray:
    """[T] int32: the place of the sequence's first query, for each query."""
    return _repeated(np.asarray(seq_lens, dtype=np.int32) - np.asarray(query_lens, dtype=np.int32), query_lens)


def _counted(query_lens: Sequence[int]) -> np.ndarray:
    """[T] int32: 0, 1, 2 ... within each sequence."""
    lens = np.asarray(query_lens, dtype=np.int32)
    return np.arange(lens.sum(), dtype=np.int32) - np.repeat(np.cumsum(lens, dtype=np.int32) - lens, lens)
