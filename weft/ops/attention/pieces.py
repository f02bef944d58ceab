"""Pieces (tiles) of a step for kernels that are made of torch's batched calls: decodes of similar length share a piece,
a prefill chunk is cut into tiles of queries. A piece gathers whole blocks; its mask hides keys from queries.

        keys lo ……………………………… hi            lo: first key that a query of the piece sees, rounded down to a block
      query 0  ■ ■ ■ ■ ■ □ □ □              hi: end of the last one, rounded up to a block
      query 1  ■ ■ ■ ■ ■ ■ □ □              □: -inf in the mask
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from weft.ops.attention.ranges import KeyRanges, places

MIN_TILE = 16                  # fewest queries of a tile, if the chunk has them
_MAX_TILE = 128                # most queries of a tile: smaller tiles compute fewer scores that the mask hides
TILE_SCORES = 2 ** 19          # about the most queries * keys of a tile, which bounds the memory of its scores
_DECODE_SPREAD = 1.3           # lengths of the decodes of a piece differ at most by this factor
_DECODE_KEYS = 2048            # about the most keys of a piece of decodes: they stay in the CPU's cache until used


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Piece:
    """One batched call: `num_seqs` sequences with `num_queries` queries each.

    rows: the piece's rows of the step's q, a slice or [s * n] int64.
    local: rows of the step's own k and v to read instead of the cache (a prompt's first chunk); then block_ids is None.
    block_ids: [s * m] int64, blocks to gather. A shorter sequence repeats its last block, so that no block is foreign.
    mask: [s, 1, n, L] float32, 0 or -inf; None when each query sees all L keys.
    key_positions: [s, 1, 1, L] float32; last_position: [s, 1, 1, 1] float32, of the last query (both for ALiBi).
    distances: [s, n, L] int64, key position - query position.
    blind: [s * n] bool, queries that see no key, whose results are zeros; None when every query sees one.
    rows_by_heads, bias_by_group: results of block_rows and grouped_mask, kept for the other layers of the step.
    """

    rows: slice | Tensor
    num_seqs: int
    num_queries: int
    num_keys: int
    local: slice | None
    block_ids: Tensor | None
    mask: Tensor | None
    key_positions: Tensor
    last_position: Tensor
    distances: Tensor
    blind: Tensor | None
    rows_by_heads: dict[int, Tensor] = field(default_factory=dict, init=False)
    bias_by_group: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict, init=False)

    def grouped_mask(self, group: int, dtype: torch.dtype) -> Tensor:
        """[group * n, L]: the mask of the first sequence, repeated for the `group` query heads of a KV head."""
        assert self.mask is not None
        if (group, dtype) not in self.bias_by_group:
            self.bias_by_group[group, dtype] = self.mask[0, 0].to(dtype).repeat(group, 1)
        return self.bias_by_group[group, dtype]

    def block_rows(self, kv_heads: int) -> Tensor:
        """[s * Hkv * m]: rows of a cache viewed as [B * Hkv, P * R], in the order sequence, head, block."""
        assert self.block_ids is not None
        if kv_heads not in self.rows_by_heads:
            heads = torch.arange(kv_heads).view(1, -1, 1)
            self.rows_by_heads[kv_heads] = (self.block_ids.view(self.num_seqs, 1, -1) * kv_heads + heads).view(-1)
        return self.rows_by_heads[kv_heads]


def make_pieces(query_lens: Sequence[int], seq_lens: Sequence[int], num_decodes: int, table: Tensor, slots: np.ndarray,
                ranges: KeyRanges, block_size: int) -> tuple[Piece, ...]:
    """The pieces of a step. table: [S, M] int64; the rest as in AttentionPlan."""
    maker = _PieceMaker(seq_lens, table, slots, ranges, places(query_lens, seq_lens), block_size)
    pieces = maker.decodes(num_decodes)
    row = num_decodes
    for seq in range(num_decodes, len(query_lens)):
        pieces += maker.prefill(seq, row, query_lens[seq])
        row += query_lens[seq]
    return tuple(pieces)


@dataclass(frozen=True, slots=True, eq=False)
class _PieceMaker:
    """Makes the pieces of a step. positions: [T], places of queries in their sequences; the rest as in make_pieces."""

    seq_lens: Sequence[int]
    table: Tensor
    slots: np.ndarray
    ranges: KeyRanges
    positions: np.ndarray
    block_size: int

    def decodes(self, num_decodes: int) -> list[Piece]:
        spans = []                                  # (number of blocks, first block, sequence)
        for seq in range(num_decodes):
            first, last = self._blocks(slice(seq, seq + 1))
            spans.append((last - first, first, seq))
        spans.sort()
        pieces, start = [], 0
        while start < len(spans):
            end = start + 1
            widest, room = max(_DECODE_SPREAD * spans[start][0], 8), _DECODE_KEYS // self.block_size
            while end < len(spans) and spans[end][0] <= widest and spans[end][0] * (end + 1 - start) <= room:
                end += 1
            pieces.append(self._decode_piece(spans[start:end]))
            start = end
        return pieces

    def _blocks(self, rows: slice) -> tuple[int, int]:
        """The blocks [first, last) that these rows of a sequence see; (0, 1) where they see no key."""
        first, end = self.ranges.first[rows], self.ranges.end[rows]
        sees = first < end
        if not sees.any():
            return 0, 1
        return int(first[sees].min()) // self.block_size, -(-int(end[sees].max()) // self.block_size)

    def _decode_piece(self, spans: list[tuple[int, int, int]]) -> Piece:
        width, size = spans[-1][0], self.block_size
        seqs = torch.tensor([seq for _, _, seq in spans])
        firsts = torch.tensor([first for _, first, _ in spans])[:, None]
        own = torch.tensor([first + blocks - 1 for blocks, first, _ in spans])[:, None]     # the last block of each
        blocks = self.table[seqs[:, None], torch.minimum(firsts + torch.arange(width), own)]
        keys = firsts * size + torch.arange(width * size)                                   # [s, L], places of keys
        rows = slice(0, len(spans)) if [s for _, _, s in spans] == list(range(len(spans))) else seqs
        return self._piece(rows, seqs[:, None].numpy(), keys, block_ids=blocks.reshape(-1))

    def prefill(self, seq: int, row: int, num_queries: int) -> list[Piece]:
        """Pieces of a sequence's queries, rows [row, row + num_queries) of the step."""
        pieces, length, size = [], self.seq_lens[seq], self.block_size
        tile = max(MIN_TILE, min(_MAX_TILE, TILE_SCORES // max(1, length)))
        is_local = self._is_local(seq, row, num_queries)
        for start in range(row, row + num_queries, tile):
            rows = slice(start, min(start + tile, row + num_queries))
            first, last = self._blocks(rows)
            if is_local:
                first, last = self._keys(rows)
                keys, local, blocks = torch.arange(first, last), slice(row + first, row + last), None
            else:
                keys, local, blocks = torch.arange(first * size, last * size), None, self.table[seq, first:last]
            pieces.append(self._piece(rows, np.arange(rows.start, rows.stop)[None], keys[None], local, blocks))
        return pieces

    def _keys(self, rows: slice) -> tuple[int, int]:
        """The keys [first, last) that these rows of a sequence see; (0, 1) where they see no key."""
        first, end = self.ranges.first[rows], self.ranges.end[rows]
        sees = first < end
        return (int(first[sees].min()), int(end[sees].max())) if sees.any() else (0, 1)

    def _is_local(self, seq: int, row: int, num_queries: int) -> bool:
        """True if all keys of the sequence are new in this step and lie in the rows of its queries."""
        if num_queries != self.seq_lens[seq] or row + num_queries > len(self.slots):
            return False
        at, size = np.arange(num_queries), self.block_size
        cached = self.table[seq].numpy()[at // size] * size + at % size
        return bool((self.slots[row : row + num_queries] == cached).all())

    def _piece(self, rows: slice | Tensor, queries: np.ndarray, keys: Tensor, local: slice | None = None,
               block_ids: Tensor | None = None) -> Piece:
        """A piece. queries: [s, n], rows of the step; keys: [s, L], places of the keys in their sequences."""
        first, end, at = (torch.from_numpy(x[queries].astype(np.int64)) for x in (*self.ranges, self.positions))
        hidden = (keys[:, None] < first[..., None]) | (keys[:, None] >= end[..., None])         # [s, n, L]
        blind = (first >= end).view(-1)
        return Piece(rows=rows, num_seqs=len(queries), num_queries=queries.shape[1], num_keys=keys.shape[1],
                     local=local, block_ids=block_ids, mask=_mask(hidden[:, None]),
                     key_positions=keys.float()[:, None, None],
                     last_position=at[:, -1:].float()[:, None, None], distances=keys[:, None] - at[..., None],
                     blind=blind if bool(blind.any()) else None)


def _mask(hidden: Tensor) -> Tensor | None:
    if not hidden.any():
        return None
    return torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
