"""A step cut into pieces for the kernels made of torch's batched calls: decodes of similar length together, a prefill
chunk in tiles of queries. A piece gathers whole blocks; the mask hides what lies outside the sequence, the window and
the future.

        keys lo ……………………………… hi            lo: block-aligned start of the window (0 without one)
      query 0  ■ ■ ■ ■ ■ □ □ □              hi: end of the last query's keys, rounded up to a block
      query 1  ■ ■ ■ ■ ■ ■ □ □              □: -inf in the mask
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

MIN_TILE = 16                  # queries in one call at least, of a chunk that has them
_MAX_TILE = 128                # queries in one call at most: keys after a tile's last query are not computed
TILE_SCORES = 2 ** 19          # queries * keys in one call, about: bounds the scores' memory
_DECODE_SPREAD = 1.3           # a batched decode call holds lengths at most this factor apart,
_DECODE_KEYS = 2048            # and about so many keys: what is gathered should still be in the cache when it is used


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Piece:
    """One batched call: `num_seqs` sequences with `num_queries` queries each.

    rows: rows of the step's q, a slice or [s * n] int64.
    local: rows of the step's own k and v (a prompt's first chunk needs no cache); then block_ids is None.
    block_ids: [s * m] int64, blocks to gather; past its end a sequence's last block again, so that none is foreign.
    mask: [s, 1, n, L] float32, 0 or -inf; None when each query sees all L keys.
    key_positions: [s, 1, 1, L] float32; last_position: [s, 1, 1, 1] float32, of the last query (both for ALiBi).
    rows_by_heads, bias_by_group: what block_rows and grouped_mask made, so that the layers of a step share it.
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
    rows_by_heads: dict[int, Tensor] = field(default_factory=dict, init=False)
    bias_by_group: dict[tuple[int, torch.dtype], Tensor] = field(default_factory=dict, init=False)

    def grouped_mask(self, group: int, dtype: torch.dtype) -> Tensor:
        """[group * n, L]: the mask of the first sequence, once for each query head of a KV head."""
        if (group, dtype) not in self.bias_by_group:
            self.bias_by_group[group, dtype] = self.mask[0, 0].to(dtype).repeat(group, 1)
        return self.bias_by_group[group, dtype]

    def block_rows(self, kv_heads: int) -> Tensor:
        """[s * Hkv * m]: rows of a cache seen as [B * Hkv, P * D], in the order sequence, head, block."""
        if kv_heads not in self.rows_by_heads:
            heads = torch.arange(kv_heads).view(1, -1, 1)
            self.rows_by_heads[kv_heads] = (self.block_ids.view(self.num_seqs, 1, -1) * kv_heads + heads).view(-1)
        return self.rows_by_heads[kv_heads]


def make_pieces(query_lens: Sequence[int], seq_lens: Sequence[int], num_decodes: int, table: Tensor, window: int | None,
                block_size: int) -> tuple[Piece, ...]:
    """The pieces of a step. table: [S, M] int64; the rest as in AttentionPlan."""
    pieces = _decode_pieces(seq_lens[:num_decodes], table, window, block_size)
    row = num_decodes
    for seq in range(num_decodes, len(query_lens)):
        pieces += _prefill_pieces(row, query_lens[seq], seq_lens[seq], table[seq], window, block_size)
        row += query_lens[seq]
    return tuple(pieces)


def _decode_pieces(seq_lens: Sequence[int], table: Tensor, window: int | None, block_size: int) -> list[Piece]:
    spans = []                                      # (blocks, first block, sequence)
    for seq, length in enumerate(seq_lens):
        first = 0 if window is None else max(0, length - window) // block_size
        spans.append((-(-length // block_size) - first, first, seq))
    spans.sort()
    pieces, start = [], 0
    while start < len(spans):
        end = start + 1
        widest, room = max(_DECODE_SPREAD * spans[start][0], 8), _DECODE_KEYS // block_size
        while end < len(spans) and spans[end][0] <= widest and spans[end][0] * (end + 1 - start) <= room:
            end += 1
        pieces.append(_decode_piece(spans[start:end], seq_lens, table, window, block_size))
        start = end
    return pieces


def _decode_piece(spans: list[tuple[int, int, int]], seq_lens: Sequence[int], table: Tensor, window: int | None,
                  block_size: int) -> Piece:
    width = spans[-1][0]
    seqs = torch.tensor([seq for _, _, seq in spans])
    firsts = torch.tensor([first for _, first, _ in spans])[:, None]
    lengths = torch.tensor([seq_lens[seq] for _, _, seq in spans])[:, None]
    own = (lengths - 1) // block_size                                                   # each sequence's last block
    blocks = table[seqs[:, None], torch.minimum(firsts + torch.arange(width), own)]
    keys = firsts * block_size + torch.arange(width * block_size)                       # [s, L] positions
    hidden = keys >= lengths
    if window is not None:
        hidden |= keys < lengths - window
    rows = slice(0, len(spans)) if [s for _, _, s in spans] == list(range(len(spans))) else seqs
    return Piece(rows=rows, num_seqs=len(spans), num_queries=1, num_keys=width * block_size, local=None,
                 block_ids=blocks.reshape(-1), mask=_mask(hidden[:, None, None]),
                 key_positions=keys.float()[:, None, None], last_position=(lengths - 1).float()[:, None, None])


def _prefill_pieces(row: int, num_queries: int, seq_len: int, blocks: Tensor, window: int | None,
                    block_size: int) -> list[Piece]:
    pieces, context = [], seq_len - num_queries
    tile = max(MIN_TILE, min(_MAX_TILE, TILE_SCORES // max(1, seq_len)))
    for start in range(0, num_queries, tile):
        stop = min(start + tile, num_queries)
        first_query, end = context + start, context + stop                               # positions
        low = 0 if window is None else max(0, first_query - window + 1)
        if context == 0:
            local, ids, keys = slice(row + low, row + end), None, torch.arange(low, end)
        else:
            first, last = low // block_size, -(-end // block_size)
            local, ids = None, blocks[first:last]
            keys = torch.arange(first * block_size, last * block_size)
        queries = torch.arange(first_query, end)[:, None]
        hidden = keys > queries
        if window is not None:
            hidden = hidden | (keys <= queries - window)
        pieces.append(Piece(rows=slice(row + start, row + stop), num_seqs=1, num_queries=stop - start,
                            num_keys=len(keys), local=local, block_ids=ids, mask=_mask(hidden[None, None]),
                            key_positions=keys.float()[None, None, None],
                            last_position=torch.full((1, 1, 1, 1), end - 1.0)))
    return pieces


def _mask(hidden: Tensor) -> Tensor | None:
    if not hidden.any():
        return None
    return torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
