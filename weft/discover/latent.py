"""Which latent attention (MLA) a layer has: keys and values that are expanded from a short normed vector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, cat

from weft.architectures import keys
from weft.architectures.names import HeadRows
from weft.architectures.spec import AttentionSpec, Causal, MLASpec, RMSNorm
from weft.discover.attending import angles_of, attended, scales
from weft.discover.attention_pieces import Pieces
from weft.discover.found import Found, Taken, Winners
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm
from weft.discover.ropes import ropes
from weft.discover.traced import CLOSE, Leaf, Product, Traced, same
from weft.testing.diagnosis import difference


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """The products and norms, by their names in MLASpec. q_a, q_norm: None where q comes from the input itself."""

    q: Product
    kv_a: Product
    kv_norm: Leaf
    kv_b: Product
    q_a: Product | None
    q_norm: Leaf | None


def find_latent(t: Traced, pieces: Pieces, winners: Winners) -> Found:
    """The latent attention of a layer. NoPartError names the nearest candidate."""
    chain, count = _chain(pieces), keys.num_heads(t.reader)
    rank = chain.kv_norm.given.shape[1]
    rotary, value_dim = chain.kv_a.result.shape[1] - rank, pieces.wanted.shape[1] // count
    nope = chain.kv_b.result.shape[1] // count - value_dim
    if nope < 1 or chain.q.result.shape[1] != count * (nope + rotary):
        raise NoPartError(pieces.name, "latent attention of heads of other sizes")
    norm = find_norm(chain.kv_norm, t.reader)
    if not isinstance(norm, RMSNorm):
        raise NoPartError(chain.kv_norm.name, f"a norm of latents that is RMSNorm, not {norm.describe()}")
    if chain.q_norm is not None and find_norm(chain.q_norm, t.reader) != norm:
        raise NoPartError(chain.q_norm.name, f"another norm of q than of keys and values, {norm.describe()}")
    q, k, v = _heads(chain, count, rotary, value_dim)
    seen = t.trace.attention.get(pieces.name)
    factors = scales(t, nope + rotary, {} if seen is None else seen.options)
    ways = [((part.interleaved, label), (part, scale)) for part in ropes(t.reader, nope + rotary)
            for label, scale in factors if part.rotary_dim == rotary]
    nearest: tuple[float, str] = (float("inf"), "")
    for label, (part, scale) in winners.first("latent", ways):
        plain = AttentionSpec(num_heads=count, num_kv_heads=count, head_dim=nope + rotary, scale=scale, positions=part,
                              mask=Causal())
        found = difference(attended(plain, q, k, v, angles_of(part), [], None), pieces.wanted)
        if found <= CLOSE:
            winners.won("latent", label)
            biases = {x.bias is not None for x in (chain.q_a, chain.kv_a, pieces.out) if x is not None}
            if len(biases) > 1 or chain.q.bias is not None or chain.kv_b.bias is not None:
                raise NoPartError(pieces.name, "biases of some of latent attention's products")
            q_rank = None if chain.q_a is None else chain.q_a.result.shape[1]
            spec = MLASpec(num_heads=count, q_rank=q_rank, kv_rank=rank, nope_dim=nope, value_dim=value_dim,
                           scale=scale, positions=part, norm=norm, bias=biases.pop())
            return _found(pieces, chain, spec)
        nearest = min(nearest, (found, part.describe()))
    raise NoPartError(pieces.name, "latent attention", nearest=nearest[1], difference=nearest[0])


def _chain(pieces: Pieces) -> _Chain:
    """Which product and norm is which. NoPartError when there are others."""
    after = {id(x): norm for x in pieces.ins for norm in pieces.norms if same(x.given, norm.result)}
    first = [x for x in pieces.ins if id(x) not in after]
    for kv_norm in pieces.norms:
        width = kv_norm.given.shape[1]
        kv_a = next((x for x in first if x.result.shape[1] > width and same(x.result[:, :width], kv_norm.given)), None)
        kv_b = next((x for x in pieces.ins if after.get(id(x)) is kv_norm), None)
        if kv_a is None or kv_b is None:
            continue
        rest = [x for x in pieces.ins if x is not kv_a and x is not kv_b]
        q_norm = next((norm for norm in pieces.norms if norm is not kv_norm), None)
        if q_norm is None and len(rest) == 1:
            return _Chain(rest[0], kv_a, kv_norm, kv_b, None, None)
        q_a = next((x for x in rest if q_norm is not None and same(x.result, q_norm.given)), None)
        if q_a is not None and len(rest) == 2 and len(pieces.norms) == 2:
            (q,) = (x for x in rest if x is not q_a)
            return _Chain(q, kv_a, kv_norm, kv_b, q_a, q_norm)
    raise NoPartError(pieces.name, f"attention of the products {', '.join(x.name for x in pieces.ins)}")


def _heads(chain: _Chain, count: int, rotary: int, value_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k [T, H, D] with the rotated part first, and v [T, H, value_dim]."""
    q = chain.q.result.unflatten(1, (count, -1))
    kv = chain.kv_b.result.unflatten(1, (count, -1))
    k, v = kv[..., :-value_dim], kv[..., -value_dim:]
    shared = chain.kv_a.result[:, -rotary:].unsqueeze(1).expand(-1, count, -1)
    return cat((q[..., -rotary:], q[..., :-rotary]), -1), cat((shared, k), -1), v


def _found(pieces: Pieces, chain: _Chain, spec: MLASpec) -> Found:
    layout = HeadRows(num_heads=spec.num_heads, sizes=(spec.nope_dim, spec.value_dim))
    taken = [Taken(chain.kv_a.name, ("kv_a",)), Taken(chain.kv_norm.name, ("kv_a_norm",)),
             Taken(chain.kv_b.name, ("k_b", "v_b"), layout), Taken(pieces.out.name, ("o",))]
    if chain.q_a is None or chain.q_norm is None:
        taken.append(Taken(chain.q.name, ("q",)))
    else:
        taken += [Taken(chain.q_a.name, ("q_a",)), Taken(chain.q_norm.name, ("q_a_norm",)),
                  Taken(chain.q.name, ("q_b",))]
    given = chain.kv_a.given
    return Found(spec, given, pieces.out.result, tuple(taken), frozenset(x.source for x in taken))
