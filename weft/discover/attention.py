"""Which attention a layer has: projections, heads, norms, positions, scale and mask are tried until the numbers agree.

The first product whose input depends on earlier tokens is the product out; what goes into it is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import torch
from torch import Tensor

from weft.architectures import keys
from weft.architectures.names import GroupedQKV, Layout, Plain
from weft.architectures.spec import Alibi, AttentionSpec, Causal, QKNorm, Rope, SlidingWindow
from weft.checkpoint.routing import take_apart
from weft.discover.found import Found, Taken, Winners
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm, is_norm
from weft.discover.ropes import ropes
from weft.discover.traced import CLOSE, Leaf, Product, Traced, same
from weft.errors import ConfigError
from weft.layers.rope import RotaryPositions
from weft.ops.attention import alibi_slopes
from weft.ops.rope.reference import apply_rope
from weft.testing.diagnosis import difference


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The leaves of a layer's attention. name: its module. ins: products of what goes in; out: the product out."""

    name: str
    ins: list[Product]
    out: Product
    norms: list[Leaf]
    others: list[Leaf]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """One way to read the products in: q [T, H, D], k and v [T, Hkv, D]. taken: how the products are divided."""

    q: Tensor
    k: Tensor
    v: Tensor
    taken: tuple[Taken, ...]
    label: Any


def attention_pieces(t: Traced, layer: int) -> Pieces:
    """The leaves of a layer's attention. NoPartError when no module mixes tokens, or several do."""
    prefix, mixed = t.layers[layer], t.after_mixing(layer)
    leaves = list(t.leaves(f"{prefix}."))
    out = next((x for x in leaves if isinstance(x, Product) and mixed.get(x.name, (False,))[0]), None)
    mixing = [name for name, (before, after) in mixed.items() if after and not before and name != prefix]
    inner = [name for name in mixing if not any(other.startswith(f"{name}.") for other in mixing)]
    if out is None or len(inner) > 1:
        raise NoPartError(prefix, f"{len(inner)} modules in which tokens meet ({', '.join(inner)})" if inner else
                          "no module in which tokens meet, before a product")
    name = inner[0] if inner else prefix
    within = [x for x in leaves if x.name.startswith(f"{name}.") and x.name != out.name]
    ins = [x for x in within if isinstance(x, Product) and not mixed[x.name][0]]
    norms = [x for x in within if is_norm(x)]
    known = {id(x) for x in (*ins, *norms)}
    return Pieces(name, ins, out, norms, [x for x in within if id(x) not in known and _has_numbers(x)])


def _has_numbers(leaf: Leaf) -> bool:
    return next(leaf.module.parameters(), None) is not None


def find_attention(t: Traced, layer: int, pieces: Pieces, winners: Winners) -> Found:
    """The attention of a layer. NoPartError names the nearest candidate."""
    name = pieces.name
    if pieces.others:
        raise NoPartError(pieces.others[0].name, "attention has a module beside products and norms")
    if len(pieces.ins) not in (1, 2, 3) or any(not same(x.given, pieces.ins[0].given) for x in pieces.ins):
        raise NoPartError(name, f"attention of {len(pieces.ins)} products: {', '.join(x.name for x in pieces.ins)}")
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
            wanted = pieces.out.given
            found = difference(_attended(spec, *normed[:3], angles), wanted)
            if found <= CLOSE:
                winners.won("heads", label)
                winners.won("attention", way)
                return _found(pieces, each, spec, normed[3])
            nearest = min(nearest, (found, spec.describe()))
    raise NoPartError(name, "attention", nearest=nearest[1], difference=nearest[0])


def _found(pieces: Pieces, heads: Heads, spec: AttentionSpec, qk_norm: QKNorm | None) -> Found:
    biases = [x.bias is not None for x in pieces.ins]
    if len(set(biases)) > 1:
        raise NoPartError(pieces.name, "biases of some of q, k and v")
    values: dict[str, Any] = {"qkv_bias": biases[0], "out_bias": pieces.out.bias is not None, "qk_norm": qk_norm}
    spec = AttentionSpec(num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim,
                         scale=spec.scale, positions=spec.positions, mask=spec.mask, softcap=spec.softcap,
                         clip=spec.clip, **values)
    norms = [Taken(leaf.name, (target,)) for leaf, target in zip(pieces.norms, ("q_norm", "k_norm"), strict=False)
             if next(leaf.module.parameters(), None) is not None]
    out = Taken(pieces.out.name, ("o",), Plain(transposed=pieces.out.transposed))
    leaves = (*pieces.ins, pieces.out, *pieces.norms)
    return Found(spec, pieces.ins[0].given, pieces.out.result, (*heads.taken, *norms, out),
                 frozenset(leaf.name for leaf in leaves))


# Heads

def _heads(t: Traced, pieces: Pieces) -> Iterator[Heads]:
    """All ways to read q, k and v out of the products in."""
    width = pieces.out.given.shape[1]
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
            yield Heads(*(x.result.unflatten(1, (-1, size)) for x in parts), taken, order)


def _fused(ins: list[Product], count: int, kv_count: int, size: int) -> Iterator[Heads]:
    rows = [count * size, kv_count * size, kv_count * size]
    if len(ins) == 2:
        q, kv = sorted(ins, key=lambda x: x.result.shape[1] != rows[0])
        k, v = kv.result.split(rows[1:], dim=1)
        taken = (Taken(q.name, ("q",), Plain(transposed=q.transposed)),
                 Taken(kv.name, ("k", "v"), Plain(transposed=kv.transposed)))
        yield Heads(*(x.unflatten(1, (-1, size)) for x in (q.result, k, v)), taken, "q and kv")
        return
    (qkv,) = ins
    layouts: list[tuple[Layout, tuple[str, ...]]] = [(Plain(), ("q", "k", "v")), (Plain(), ("k", "v", "q"))]
    layouts.append((GroupedQKV(num_groups=kv_count, queries_per_group=count // kv_count, head_dim=size),
                    ("q", "k", "v")))
    for layout, targets in layouts:
        sizes = [rows["qkv".index(target)] for target in targets]
        parts = dict(zip(targets, take_apart(layout, qkv.result.T, sizes), strict=True))
        stored = Plain(transposed=True) if qkv.transposed and isinstance(layout, Plain) else layout
        yield Heads(*(parts[target].T.unflatten(1, (-1, size)) for target in "qkv"),
                    (Taken(qkv.name, targets, stored),), (type(layout).__name__, targets))


# Norms of q and k

def _normed(t: Traced, pieces: Pieces, heads: Heads) -> tuple[Tensor, Tensor, Tensor, QKNorm | None]:
    """q, k and v after the norms of q and k. NoPartError for norms of something else."""
    if not pieces.norms:
        return heads.q, heads.k, heads.v, None
    flat = [heads.q.flatten(1), heads.k.flatten(1)]
    pairs = sorted(pieces.norms, key=lambda leaf: not same(leaf.given, flat[0]))
    if len(pairs) != 2 or not all(same(leaf.given, x) for leaf, x in zip(pairs, flat, strict=True)):
        raise NoPartError(pieces.norms[0].name, "a norm in attention of something else than q and k before rotation")
    pieces.norms[:] = pairs
    norm, size = find_norm(pairs[0], t.reader), heads.q.shape[-1]
    if find_norm(pairs[1], t.reader) != norm:
        raise NoPartError(pairs[1].name, f"another norm of k than of q, which is {norm.describe()}")
    shape = next((tuple(x.shape) for x in pairs[0].module.parameters()), (size,))
    scopes: dict[tuple[int, ...], Any] = {(size,): "head", tuple(heads.q.shape[1:]): "each_head"}
    scope = scopes.get(shape, "all")
    if pairs[0].shape[-1] == size == heads.q[0].numel():
        scope = "head"
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
            [*ropes(t.reader, size), *biases], _scales(t, size, options), _windows(t), _softcaps(t, options),
            _clips(t)):
        label = (getattr(positions, "interleaved", type(positions).__name__), scale[0], window[0], softcap[0], clip[0])
        yield label, (AttentionSpec(
            num_heads=count, num_kv_heads=kv_count, head_dim=size, scale=scale[1], positions=positions,
            mask=Causal() if window[1] is None else SlidingWindow(window=window[1]), softcap=softcap[1],
            clip=clip[1]), _angles(positions))


def _scales(t: Traced, size: int, options: dict[str, Any]) -> list[tuple[str, float]]:
    if "scaling" in options:
        seen = float(size ** -0.5 if options["scaling"] is None else options["scaling"])
        return [("as seen", seen), ("queries too", seen * size ** -0.5)]
    known = [("head", size ** -0.5), ("none", 1.0), ("mup", 1 / size)]
    known += [(key, float(x)) for key, x in t.reader.all_values().items() if isinstance(x, float) and 0 < x < 1]
    return known


def _windows(t: Traced) -> list[tuple[str, int | None]]:
    values = t.reader.all_values().items()
    return [("none", None)] + [(key, x) for key, x in values
                               if "window" in key and isinstance(x, int) and not isinstance(x, bool) and x > 1]


def _softcaps(t: Traced, options: dict[str, Any]) -> list[tuple[str, float | None]]:
    if options.get("softcap") is not None:
        return [("as seen", float(options["softcap"]))]
    values = t.reader.all_values().items()
    return [("none", None)] + [(key, float(x)) for key, x in values if "cap" in key and isinstance(x, float) and x > 1]


def _clips(t: Traced) -> list[tuple[str, float | None]]:
    return [("none", None)] + [(key, float(x)) for key, x in t.reader.all_values().items()
                               if "clip" in key and isinstance(x, int | float) and x > 0]


def _angles(positions: Any) -> tuple[Tensor, Tensor] | None:
    if not isinstance(positions, Rope):
        return None
    cos, sin = RotaryPositions(positions, max_model_len=1).angles(torch.arange(1000), torch.float32)
    return cos.unsqueeze(1), sin.unsqueeze(1)


def _attended(spec: AttentionSpec, q: Tensor, k: Tensor, v: Tensor, angles: tuple[Tensor, Tensor] | None) -> Tensor:
    """[T, H * D]: dense causal attention of one sequence, as the spec says. Source: arXiv:1706.03762."""
    tokens = len(q)
    if spec.clip is not None:
        q, k, v = (x.clamp(-spec.clip, spec.clip) for x in (q, k, v))
    if angles is not None and isinstance(spec.positions, Rope):
        q, k = q.clone(), k.clone()
        for x in (q, k):
            apply_rope(x, angles[0][:tokens], angles[1][:tokens], interleaved=spec.positions.interleaved)
    k, v = (x.repeat_interleave(spec.num_heads // spec.num_kv_heads, dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * spec.scale
    distance = torch.arange(tokens).unsqueeze(1) - torch.arange(tokens)
    if spec.softcap is not None:
        scores = spec.softcap * torch.tanh(scores / spec.softcap)
    if isinstance(spec.positions, Alibi):
        slopes = alibi_slopes(spec.num_heads, spec.positions.max_bias)
        scores = scores - spec.positions.scale * slopes.view(-1, 1, 1) * distance
    hidden = (distance < 0) | (distance >= (spec.window or tokens))
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(hidden, -torch.inf).softmax(-1), v).flatten(1)
