"""The check run after loading: a few tokens, computed the wired way and the model's own way, must agree.

The wired way runs two sequences together, in chunks; the own way each alone and whole. So a model that mixes tokens
elsewhere than in attention, or counts positions itself, is found out, whatever its code looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weft.cache.groups import CacheGroup, FullGroup
from weft.cache.masks import Bidirectional, Chunked
from weft.cache.need import TokensNeed, cache_groups
from weft.layers.paged_attention import PagedAttention
from weft.models.transformers.cache_own import OwnCaches
from weft.ops.attention import AttentionPlan, attention_plan
from weft.ops.attention.ranges import KeyRanges, bidirectional, chunked, spans
from weft.ops.step import RowEmbeds, Step

LENGTHS = (21, 9)               # tokens of the two sequences
_FIRST_CHUNKS = (12, 8)         # of which the first step computes these
_NUM_BLOCKS = 64

# Largest |difference| / |value| of a row of states: of every row in float32; of most rows in shorter floats, where a
# router may send a token to another expert because of one rounding, and later tokens see that one (0.1 was seen).
_FLOAT32, _SHORT = 2e-3, 0.15
# Of most rows where weights were quantized: codes of 4 bits move states by a tenth or two, a wrong part by all of them.
# Also of so few rows in shorter floats that one token with another expert decides.
_QUANTIZED, _FEW_ROWS = 0.3, 5


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A trial sequence with an image. embeds: the rows of the image. wanted: [length, E], its states.

    span: the [first, end) of tokens that see each other; None: there are none.
    """

    token_ids: list[int]
    embeds: RowEmbeds
    span: tuple[int, int] | None
    wanted: Tensor


def trial_ids(vocab_size: int) -> list[list[int]]:
    """Token ids of the two sequences."""
    low, count, state, out = min(16, vocab_size // 2), min(vocab_size, 512), 7, []
    for length in LENGTHS:
        ids = []
        for _ in range(length):
            state = (1103515245 * state + 12345) % 2**31
            ids.append(low + (state >> 8) % (count - low))
        out.append(ids)
    return out


def difference(found: Tensor, wanted: Tensor, *, is_quantized: bool = False) -> str | None:
    """How far rows [T, E] are from those wanted, in words; None: they agree as far as their dtype allows.

    is_quantized: the rows found are of quantized weights, those wanted are not.
    """
    if found.shape != wanted.shape:
        return f"the result is {list(found.shape)} instead of {list(wanted.shape)}"
    found, wanted = found.float(), wanted.float()
    errors = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1).clamp_min(1e-6)
    is_long = torch.finfo(found.dtype).eps < 1e-5 and _is_float32(found, wanted)
    limit, error = (_FLOAT32, errors.max()) if is_long else (_SHORT, errors.median())
    if is_quantized or (not is_long and len(found) < _FEW_ROWS):
        limit, error = _QUANTIZED, errors.median()
    return None if error <= limit else f"states differ by {float(error):.1g} of their length"


def _is_float32(*tensors: Tensor) -> bool:
    """Whether numbers have more digits than bfloat16 and float16 have."""
    return any(not torch.equal(x, x.half().float()) and not torch.equal(x, x.bfloat16().float()) for x in tensors)


def check_wired(forward: Callable[[Step], Tensor], caches: Sequence[PagedAttention], token_ids: list[list[int]],
                wanted: list[Tensor], *, is_quantized: bool = False, shown: Shown | None = None) -> str | None:
    """Why a wired model is wrong; None: it is right.

    forward: the model. wanted: [length, E] states of each sequence. is_quantized: as `difference`.
    shown: a sequence with an image, which runs alone after these. Binds the caches, which the engine does again.
    """
    groups = cache_groups([layer.need for layer in caches], block_size=caches[0].block_size,
                          state_interval=caches[0].block_size)
    for number, group in enumerate(groups):
        for index in group.layers:
            layer = caches[index]
            layer.bind_cache(tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in zip(
                layer.cache_shapes(_NUM_BLOCKS), layer.cache_dtypes, strict=True)), number)
    is_whole = any(isinstance(layer.need, TokensNeed) and isinstance(layer.need.mask, Bidirectional)
                   for layer in caches)
    chunks = [(0, 0), LENGTHS] if is_whole else [(0, 0), _FIRST_CHUNKS, LENGTHS]
    order = (1, 0)                                         # the shorter part, a decode in the second step, comes first
    for before, after in pairwise(chunks):
        step = _step([(token_ids[i], before[i], after[i], i) for i in order], groups, caches[0].block_size)
        rows = forward(step).split([after[i] - before[i] for i in order])
        for i, found in zip(order, rows, strict=True):
            if problem := difference(found, wanted[i][before[i] : after[i]], is_quantized=is_quantized):
                return f"{problem} at tokens {before[i]} to {after[i] - 1} of {len(token_ids[i])}"
    if shown is None:
        return None
    step = _step([(shown.token_ids, 0, len(shown.token_ids), 0)], groups, caches[0].block_size, shown)
    problem = difference(forward(step), shown.wanted, is_quantized=is_quantized)
    return None if problem is None else f"with an image, {problem}"


def _step(parts: list[tuple[list[int], int, int, int]], groups: Sequence[CacheGroup], block_size: int,
          shown: Shown | None = None) -> Step:
    """One step. parts: (token ids of the sequence, first, end of the new ones, number of the sequence)."""
    seq_spans = None if shown is None or shown.span is None else [[shown.span]]
    query_lens, seq_lens = (tuple(end - first for _, first, end, _ in parts), tuple(end for _, _, end, _ in parts))
    places = np.concatenate([np.arange(first, end) for _, first, end, _ in parts])
    width = -(-max(LENGTHS) // block_size)
    table = np.array([[number * width + block for block in range(width)] for *_, number in parts], dtype=np.int32)
    rows = np.repeat(np.arange(len(parts)), query_lens)
    slots = table[rows, places // block_size] * block_size + places % block_size
    num_decodes = next((i for i, count in enumerate(query_lens) if count > 1), len(parts))
    return Step(
        input_ids=torch.tensor([token for ids, first, end, _ in parts for token in ids[first:end]]),
        positions=torch.from_numpy(places), query_lens=query_lens, embeds=None if shown is None else shown.embeds,
        caches=tuple(_plan(group, query_lens, seq_lens, num_decodes, slots, table, block_size, seq_spans)
                     for group in groups))


def _plan(group: Any, query_lens: tuple[int, ...], seq_lens: tuple[int, ...], num_decodes: int, slots: np.ndarray,
          table: np.ndarray, block_size: int, seq_spans: list[list[tuple[int, int]]] | None) -> AttentionPlan:
    ranges: KeyRanges | None = None
    if isinstance(group, FullGroup) and isinstance(group.mask, Bidirectional):
        ranges = bidirectional(query_lens, seq_lens, group.mask.radius)
    elif isinstance(group, FullGroup) and isinstance(group.mask, Chunked):
        ranges = chunked(query_lens, seq_lens, group.mask.size)
    elif seq_spans is not None:
        ranges = spans(query_lens, seq_lens, seq_spans, group.window)
    return attention_plan(query_lens=query_lens, seq_lens=seq_lens, num_decodes=num_decodes, slots=slots, table=table,
                          window=group.window if ranges is None else None, block_size=block_size, ranges=ranges)


def fit_own(own: OwnCaches, sequences: list[list[int]], wanted: Tensor, encoder_ids: Tensor | None = None) -> None:
    """Find out how many tokens the model computes rightly from its cache in one call.

    Between two calls for the first sequence comes one for the second, because some models (RecurrentGemma) keep states
    in their modules: these continue nothing. wanted: [T, E], the first sequence's states of a whole call.
    encoder_ids: [n], the input of an encoder beside the decoder.
    """
    token_ids, other = sequences
    last, middle = len(token_ids) - 1, len(token_ids) // 2
    for continues_by, border in ((None, middle), (1, last)):
        if own.continues_by == 0:
            break
        own.continues_by = continues_by
        try:
            if encoder_ids is not None:
                own.encode("trial", encoder_ids)
                own.encode("other", encoder_ids[1:])
            found = own.states("trial", 0, token_ids[:border])
            own.states("other", 0, other)
            found = torch.cat([found, own.states("trial", border, token_ids[border:])])
            found = torch.cat([found, own.states("trial", last + 1, token_ids[:1])])[: last + 1]
            agrees = difference(found, wanted) is None
        except Exception:      # the model's own code: what it cannot continue is computed from the first token
            agrees = False
        own.end(["trial", "other"])
        if agrees:
            return
    own.continues_by = 0
