"""Sequences of random queries, keys and values, run through an attention kernel in any steps; for tests.

The caches begin as NaN: what a kernel reads, it must have written or zeroed.
"""

from __future__ import annotations

import numpy as np
import torch

from weft.ops.attention import attention_plan, cache_shape

NUM_BLOCKS = 400


class Sequences:
    """Tokens of some sequences, in blocks of the cache that lie at random.

    shared: so many tokens of each are the same, in the same blocks (a multiple of the block size).
    latents: only keys are cached, and run with params that say how much of a key is its value.
    """

    def __init__(self, lengths, *, heads, kv_heads, head_dim, dtype=torch.float32, kv_dtype=None, shared=0,
                 block_size=16, latents=False):
        generator = torch.Generator().manual_seed(0)
        free = torch.randperm(NUM_BLOCKS, generator=generator).tolist()
        prefix = [free.pop() for _ in range(shared // block_size)]
        self.latents = latents
        self.block_size, self.dtype, self.heads, self.head_dim = block_size, dtype, heads, head_dim
        self.tables = [prefix + [free.pop() for _ in range(-(-length // block_size) - len(prefix))]
                       for length in lengths]
        shapes = ((heads, head_dim), (kv_heads, head_dim), (kv_heads, head_dim))
        common = [torch.randn(shared, *shape, generator=generator) for shape in shapes]
        self.tokens = [[torch.cat((first, torch.randn(length - shared, *shape, generator=generator))).to(dtype)
                        for first, shape in zip(common, shapes, strict=True)] for length in lengths]
        shape = cache_shape(NUM_BLOCKS, kv_heads, block_size, head_dim, kv_dtype or dtype)
        self.kv_dtype, self.cache_shape = kv_dtype or dtype, shape

    def empty_caches(self):
        """A cache of keys and one of values, of NaN; of latents, one and None."""
        size = torch.Size(self.cache_shape).numel() * self.kv_dtype.itemsize
        caches = [torch.full((size,), 255, dtype=torch.uint8).view(self.kv_dtype).view(self.cache_shape)
                  for _ in range(2)]
        return [caches[0], None] if self.latents else caches

    def plan(self, step, *, window=None, mask=None):
        """The plan of a step: [(sequence, first token, end)], those of one token first.

        mask(query_lens, seq_lens, sequences): the KeyRanges of the step; None for causal queries.
        """
        width = max(-(-end // self.block_size) for _, _, end in step)
        table = np.full((len(step), width), -1)
        for row, (seq, _, end) in zip(table, step, strict=True):
            count = -(-end // self.block_size)
            row[:count] = self.tables[seq][:count]
        slots = [self.tables[seq][p // self.block_size] * self.block_size + p % self.block_size
                 for seq, start, end in step for p in range(start, end)]
        lens, ends = [end - start for _, start, end in step], [end for _, _, end in step]
        return attention_plan(query_lens=lens, seq_lens=ends,
                              num_decodes=next((i for i, n in enumerate(lens) if n > 1), len(lens)),
                              slots=np.array(slots), table=table, window=window, block_size=self.block_size,
                              ranges=mask and mask(lens, ends, [seq for seq, _, _ in step]))

    def run(self, kernel, steps, params, *, window=None, mask=None):
        """{(sequence, position): [H, D]} of all tokens of the steps, run one after another."""
        caches, out = self.empty_caches(), {}
        for step in steps:
            q, k, v = (torch.cat([self.tokens[seq][part][start:end] for seq, start, end in step]) for part in range(3))
            rows = kernel(q, k, None if self.latents else v, *caches, self.plan(step, window=window, mask=mask), params)
            places = [(seq, p) for seq, start, end in step for p in range(start, end)]
            out |= dict(zip(places, rows, strict=True))
        return out


def stacked(out, places):
    """[n, H, D] of some of a run's tokens, in order."""
    return torch.stack([out[place] for place in places])
