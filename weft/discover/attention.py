"""Which attention a layer has: projections, heads, norms, positions, scale and mask are tried until the numbers agree.

What goes into the product out is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import torch
from torch import Tensor

from weft.architectures import keys
from weft.architectures.names import GroupedQKV, Layout, Plain
from weft.architectures.spec import Alibi, AttentionSpec, Causal, OutputGate, QKNorm, SlidingWindow
from weft.checkpoint.routing import take_apart
from weft.discover.attending import angles_of, attended, clips, scales, softcaps, windows
from weft.discover.attention_pieces import Pieces, is_latent
from weft.discover.found import Found, Taken, Winners
from weft.discover.latent import find_latent
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm
from weft.discover.ropes import ropes
from weft.discover.traced import CLOSE, Product, Traced, same
from weft.errors import ConfigError
from weft.testing.diagnosis import difference


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """One way to read the products in: q [T, H, D], k and v [T, Hkv, D]. taken: how the products are divided."""

    q: Tensor
    k: Tensor
    v: Tensor
    taken: tuple[Taken, ...]
    label: Any


def find_attention(t: Traced, layer: int, pieces: Pieces, winners: Winners) -> Found:
    """The attention of a layer. NoPartError names the nearest candidate."""
    if pieces.others:
        raise NoPartError(pieces.others[0].name, "attention has a module beside products and norms")
    if is_latent(pieces):
        return find_latent(t, pieces, winners)
    if len(pieces.ins) not in (1, 2, 3, 4) or any(not same(x.given, pieces.ins[0].given) for x in pieces.ins):
        raise NoPartError(pieces.name, f"attention of {len(pieces.ins)} products: "
                                       f"{', '.join(x.name for x in pieces.ins)}")
    errors = []
    for reading in pieces.readings():
        try:
            return _find(t, reading, winners)
        except NoPartError as error:
            errors.append(error)
    raise min(errors, key=lambda error: error.difference)


def _find(t: Traced, pieces: Pieces, winners: Winners) -> Found:
    """The attention of one reading of its products."""
    name = pieces.name
    nearest: tuple[float, str] = (float("inf"), "")
    heads = winners.first("heads", [(each.label, each) for each in _heads(t, pieces)])
    for label, each in heads:
        try:
            normed = _normed(t, pieces, each)
        except NoPartError as error:
            if len(heads) == 1:
                raise
            nearest = min(nearest, (error.difference, error.reason))
            continue
        for way, (spec, angles) in winners.first("attention", list(_ways(t, pieces, each))):
            found, gate = _difference(t, pieces, spec, normed, angles)
            if found <= CLOSE:
                winners.won("heads", label)
                winners.won("attention", way)
                return _found(t, pieces, each, replace(spec, qk_norm=normed[3], gate=gate))
            nearest = min(nearest, (found, spec.describe()))
    raise NoPartError(name, "attention", nearest=nearest[1], difference=nearest[0])


def _difference(t: Traced, pieces: Pieces, spec: AttentionSpec, normed: tuple,
                angles: tuple[Tensor, Tensor] | None) -> tuple[float, OutputGate | None]:
    """(difference of one way to attend, the gate that makes it so small)."""
    q, k, v, qk_norm = normed
    later = pieces.norms if qk_norm is not None and qk_norm.after_rotation else []
    made = attended(spec, q, k, v, angles, later, None if pieces.sinks is None else pieces.sinks[1])
    if pieces.gate is None:
        return difference(made, pieces.wanted), None
    width = pieces.gate.result.shape[1]
    if width not in (made.shape[1], spec.num_heads):
        return float("inf"), None
    best: tuple[float, Any] = (float("inf"), None)
    for act, scale in product(("sigmoid", "softplus"), (1.0, 2.0)):
        part = OutputGate(per="value" if width == made.shape[1] else "head", act=act, scale=scale,
                          bias=pieces.gate.bias is not None)
        factors = getattr(torch.nn.functional, act)(pieces.gate.result) * scale
        factors = factors if part.per == "value" else factors.repeat_interleave(spec.head_dim, dim=1)
        best = min(best, (difference(made * factors, pieces.wanted), part), key=lambda each: each[0])
    return best


def _found(t: Traced, pieces: Pieces, heads: Heads, spec: AttentionSpec) -> Found:
    biases = [x.bias is not None for x in pieces.ins]
    if len(set(biases)) > 1:
        raise NoPartError(pieces.name, "biases of some of q, k and v")
    out_norm = None if pieces.out_norm is None else find_norm(pieces.out_norm, t.reader)
    spec = replace(spec, qkv_bias=biases[0], out_bias=pieces.out.bias is not None, out_norm=out_norm,
                   sinks=pieces.sinks is not None)
    more = [Taken(pieces.out_norm.name, ("out_norm",))] if pieces.out_norm is not None else []
    more += [Taken(pieces.gate.name, ("gate",))] if pieces.gate is not None else []
    more += [Taken(pieces.sinks[0], ("sinks",))] if pieces.sinks is not None else []
    norms = [Taken(leaf.name, (target,)) for leaf, target in zip(pieces.norms, ("q_norm", "k_norm"), strict=False)
             if next(leaf.module.parameters(), None) is not None]
    out = Taken(pieces.out.name, ("o",), Plain(transposed=pieces.out.transposed))
    extras = [x for x in (pieces.gate, pieces.out_norm) if x is not None]
    leaves = (*pieces.ins, pieces.out, *pieces.norms, *extras)
    return Found(spec, pieces.ins[0].given, pieces.out.result, (*heads.taken, *norms, *more, out),
                 frozenset(leaf.name for leaf in leaves))


# Heads

def _heads(t: Traced, pieces: Pieces) -> Iterator[Heads]:
    """All ways to read q, k and v out of the products in."""
    width = pieces.wanted.shape[1]
    for count in _head_counts(t, pieces, width):
        size = width // count
        total = sum(x.result.shape[1] for x in pieces.ins)
        kv_count, rest = divmod(total - width, 2 * size)
        if rest or kv_count < 1 or count % kv_count:
            continue
        if len(pieces.ins) == 3:
            yield from _separate(pieces.ins, (count, kv_count, kv_count), size)
        else:
            yield from _fused(pieces.ins, count, kv_count, size)


def _head_counts(t: Traced, pieces: Pieces, width: int) -> list[int]:
    seen = t.trace.attention.get(pieces.name)
    if seen is not None:
        return [seen.q.shape[1]] if seen.q.shape[1] * seen.v.shape[2] == width else []
    try:
        first = [keys.num_heads(t.reader)]
    except ConfigError:
        first = []
    others = [x for key, x in t.reader.all_values().items() if isinstance(x, int) and "head" in key and x > 0]
    return [x for x in dict.fromkeys((*first, *others)) if width % x == 0]


def _separate(ins: list[Product], counts: tuple[int, int, int], size: int) -> Iterator[Heads]:
    for order in permutations(range(3)):
        parts = [ins[number] for number in order]
        if all(x.result.shape[1] == count * size for x, count in zip(parts, counts, strict=True)):
            taken = tuple(Taken(x.name, (target,), Plain(transposed=x.transposed))
                          for x, target in zip(parts, "qkv", strict=True))
            q, k, v = (x.result.unflatten(1, (-1, size)) for x in parts)
            yield Heads(q, k, v, taken, order)


def _fused(ins: list[Product], count: int, kv_count: int, size: int) -> Iterator[Heads]:
    rows = [count * size, kv_count * size, kv_count * size]
    if len(ins) == 2:
        q, kv = sorted(ins, key=lambda x: x.result.shape[1] != rows[0])
        k, v = kv.result.split(rows[1:], dim=1)
        taken = (Taken(q.name, ("q",), Plain(transposed=q.transposed)),
                 Taken(kv.name, ("k", "v"), Plain(transposed=kv.transposed)))
        queries, keys, values = (x.unflatten(1, (-1, size)) for x in (q.result, k, v))
        yield Heads(queries, keys, values, taken, "q and kv")
        return
    (qkv,) = ins
    layouts: list[tuple[Layout, tuple[str, ...]]] = [(Plain(), ("q", "k", "v")), (Plain(), ("k", "v", "q"))]
    layouts.append((GroupedQKV(num_groups=kv_count, queries_per_group=count // kv_count, head_dim=size),
                    ("q", "k", "v")))
    for layout, targets in layouts if kv_count > 1 else layouts[::-1]:        # one group: as plain as the plain one
        sizes = [rows["qkv".index(target)] for target in targets]
        parts = dict(zip(targets, take_apart(layout, qkv.result.T, sizes), strict=True))
        stored = Plain(transposed=True) if qkv.transposed and isinstance(layout, Plain) else layout
        q, k, v = (parts[target].T.unflatten(1, (-1, size)) for target in "qkv")
        yield Heads(q, k, v, (Taken(qkv.name, targets, stored),), (type(layout).__name__, targets))


# Norms of q and k

def _normed(t: Traced, pieces: Pieces, heads: Heads) -> tuple[Tensor, Tensor, Tensor, QKNorm | None]:
    """q, k and v after the norms of q and k. NoPartError for norms of something else."""
    if not pieces.norms:
        return heads.q, heads.k, heads.v, None
    flat = [heads.q.flatten(1), heads.k.flatten(1)]
    pairs = sorted(pieces.norms, key=lambda leaf: not same(leaf.given, flat[0]))
    is_before = all(same(leaf.given, x) for leaf, x in zip(pairs, flat, strict=False))
    if len(pairs) != 2 or not (is_before or all(
            leaf.given.shape == x.shape for leaf, x in zip(pairs, flat, strict=True))):
        raise NoPartError(pieces.norms[0].name, "a norm in attention of something else than q and k")
    pieces.norms[:] = pairs
    norm, size = find_norm(pairs[0], t.reader), heads.q.shape[-1]
    if find_norm(pairs[1], t.reader) != norm:
        raise NoPartError(pairs[1].name, f"another norm of k than of q, which is {norm.describe()}")
    shape = next((tuple(x.shape) for x in pairs[0].module.parameters()), (size,))
    scopes: dict[tuple[int, ...], Any] = {(size,): "head", tuple(heads.q.shape[1:]): "each_head"}
    scope = scopes.get(shape, "all")
    if pairs[0].shape[-1] == size == heads.q[0].numel():
        scope = "head"
    if not is_before:
        return heads.q, heads.k, heads.v, QKNorm(norm=norm, scope=scope, after_rotation=True)
    q, k = (leaf.result.view(x.shape) for leaf, x in zip(pairs, (heads.q, heads.k), strict=True))
    return q, k, heads.v, QKNorm(norm=norm, scope=scope)


# Positions, scales and masks

def _ways(t: Traced, pieces: Pieces, heads: Heads) -> Iterator[tuple[Any, tuple[AttentionSpec, Any]]]:
    """(label, (spec, angles)) of all ways to attend."""
    count, size, kv_count = heads.q.shape[1], heads.q.shape[2], heads.k.shape[1]
    seen = t.trace.attention.get(pieces.name)
    options = {} if seen is None else seen.options
    biases: list[Any] = [None] if seen is not None else [None, Alibi(), Alibi(scale=size ** -0.5)]
    for positions, scale, window, softcap, clip in product(
            [*ropes(t.reader, size), *biases], scales(t, size, options), windows(t), softcaps(t, options),
            clips(t)):
        label = (getattr(positions, "interleaved", type(positions).__name__), scale[0], window[0], softcap[0], clip[0])
        yield label, (AttentionSpec(
            num_heads=count, num_kv_heads=kv_count, head_dim=size, scale=scale[1], positions=positions,
            mask=Causal() if window[1] is None else SlidingWindow(window=window[1]), softcap=softcap[1],
            clip=clip[1]), angles_of(positions))
