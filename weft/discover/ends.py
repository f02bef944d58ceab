"""What is before the layers and after them: tables, factors and norm of the embedding, final norm, head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import EmbeddingSpec, HeadSpec, HeadTransform, LearnedPositions, NormSpec, Sinusoids
from weft.discover.ffn import ACTS
from weft.discover.found import Taken
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm, is_norm
from weft.discover.traced import CLOSE, NUM_TOKENS, Leaf, Product, Traced, same
from weft.layers.sinusoids import sinusoids
from weft.ops.activation import activation
from weft.testing.diagnosis import difference, head_kind, ratio

_OFFSETS = (0, 1, 2, 3)          # rows of a table before position 0


@dataclass(frozen=True, slots=True, eq=False)
class FoundEnds:
    """The parts around the layers. hidden_size: of the states. taken: homes of the whole model."""

    hidden_size: int
    embedding: EmbeddingSpec
    final_norm: NormSpec | None
    head: HeadSpec
    taken: tuple[Taken, ...]


def find_ends(t: Traced) -> FoundEnds:
    """Embedding, final norm and head. NoPartError names what has no part."""
    inside = tuple(f"{name}." for name in t.layers)
    norms = [x for x in t.leaves("") if is_norm(x) and not x.name.startswith(inside)]
    embedding, taken = _embedding(t, norms)
    final, states, more = _final_norm(t, norms)
    head, table = _head(t, states)
    return FoundEnds(states.shape[1], embedding, final, head, (*taken, *more, *table))


# The first end

def _tables(t: Traced) -> list[tuple[str, nn.Embedding]]:
    inside = tuple(f"{name}." for name in t.layers)
    return [(name, module) for name, module in t.model.named_modules()
            if isinstance(module, nn.Embedding) and not name.startswith(inside)]


def _embedding(t: Traced, norms: list[Leaf]) -> tuple[EmbeddingSpec, tuple[Taken, ...]]:
    """The embedding: tokens * scale + positions + token types, then a norm."""
    wanted, ids = t.given(t.layers[0]), torch.tensor(t.ids)
    last = _projection(t, wanted)
    wanted = wanted if last is None else last.given
    norm = next((x for x in norms if same(x.result, wanted) and not same(x.given, wanted)), None)
    total = wanted if norm is None else norm.given
    tokens_name = next((name for name, module in _tables(t) if module is t.model.get_input_embeddings()), None)
    if tokens_name is None:
        raise NoPartError(t.layers[0], "an embedding that is a table of tokens")
    table = t.model.get_input_embeddings().weight.detach()
    taken = [Taken(tokens_name, ("embedding.tokens",))]
    values: dict = {"vocab_size": len(table)}
    tokens = F.embedding(ids, table)
    if tokens.shape != total.shape:
        raise NoPartError(tokens_name, "an embedding of another width than the layers")
    others = [(name, module) for name, module in _tables(t) if name != tokens_name and name in t.trace.outputs
              and module.embedding_dim == tokens.shape[1]]
    explained = _explained(total, tokens, others, t.reader)
    if explained is None:
        raise NoPartError(tokens_name, "the layers' input", nearest="tokens with positions",
                          difference=difference(tokens, total))
    scale, positions, types = explained
    if scale != 1.0:
        values["scale"] = scale
    if positions is not None:
        values["positions"] = positions.part
        taken += [Taken(positions.name, ("embedding.positions",))] if positions.name else []
    if last is not None:
        values |= {"embedding_dim": table.shape[1], "projects_last": True}
        taken.append(Taken(last.name, ("embedding.project",)))
    if types is not None:
        values["token_types"] = types[1].num_embeddings
        taken.append(Taken(types[0], ("embedding.token_types",)))
    if norm is not None:
        values["norm"] = find_norm(norm, t.reader)
        if next(norm.module.parameters(), None) is not None:
            taken.append(Taken(norm.name, ("embedding.norm",)))
    return EmbeddingSpec(**values), tuple(taken)


def _projection(t: Traced, wanted: Tensor) -> Product | None:
    """The product that comes last, with a bias, and leads to another width (Electra)."""
    inside = tuple(f"{name}." for name in t.layers)
    return next((x for x in t.leaves("") if isinstance(x, Product) and not x.name.startswith(inside)
                 and x.bias is not None and not x.transposed and same(x.result, wanted)), None)


@dataclass(frozen=True, slots=True, eq=False)
class _Positions:
    """Vectors that may be added to tokens. name: of the table; "": they are computed. rows: [T, E]."""

    part: LearnedPositions | Sinusoids
    name: str
    rows: Tensor


def _positions(others: list[tuple[str, nn.Embedding]], width: int, c: ConfigReader) -> Iterator[_Positions]:
    """Trained positions first, then computed ones."""
    for name, module in others:
        for offset in _OFFSETS if module.num_embeddings > NUM_TOKENS + _OFFSETS[-1] else ():
            part = LearnedPositions(num_positions=module.num_embeddings - offset, offset=offset)
            yield _Positions(part, name, module.weight.detach()[offset:offset + NUM_TOKENS])
    longest = c.value("max_position_embeddings")
    for reaches_last in (True, False) if isinstance(longest, int) else ():
        for offset in _OFFSETS:
            part = Sinusoids(num_positions=longest, offset=offset, reaches_last=reaches_last)
            yield _Positions(part, "", sinusoids(part, width)[offset:offset + NUM_TOKENS])


def _explained(total: Tensor, tokens: Tensor, others: list[tuple[str, nn.Embedding]], c: ConfigReader) -> Any:
    """(scale, positions, (table, module) of token types); None: no sum fits."""
    for types in (None, *[x for x in others if x[1].num_embeddings <= 16]):
        added = tokens.new_zeros(1) if types is None else types[1].weight.detach()[0]
        for positions in (None, *_positions(others, tokens.shape[1], c)):
            rest = total - added if positions is None else total - added - positions.rows
            factor = 1.0 if difference(tokens, rest) <= CLOSE else ratio(tokens, rest)
            if not factor:
                continue
            scale = 1.0 if factor == 1.0 else 1.0 / factor
            if difference(tokens * scale, rest) <= CLOSE:
                return float(f"{scale:.6g}"), positions, types
    return None


# The last end

def _final_norm(t: Traced, norms: list[Leaf]) -> tuple[NormSpec | None, Tensor, tuple[Taken, ...]]:
    """(norm of the last layer's result, what goes to the head, the norm's weights)."""
    last = t.result(t.layers[-1])
    leaf = next((x for x in norms if same(x.given, last)), None)
    if leaf is None:
        return None, last, ()
    has = next(leaf.module.parameters(), None) is not None
    return find_norm(leaf, t.reader), leaf.result, (Taken(leaf.name, ("final_norm",)),) if has else ()


def _transform(t: Traced, states: Tensor, given: Tensor) -> tuple[HeadTransform | None, Tensor, tuple[Taken, ...]]:
    """(what is between the final states and the head's product, its result, its weights)."""
    is_scaled = given.shape == states.shape and ratio(given, states) is not None
    if same(given, states) or is_scaled:                      # a factor before the product is one after it
        return None, states, ()
    inside = tuple(f"{name}." for name in t.layers)
    leaves = [x for x in t.leaves("") if not x.name.startswith(inside)]
    norm = next((x for x in leaves if is_norm(x) and same(x.result, given)), None)
    dense = next((x for x in leaves if isinstance(x, Product) and same(x.given, states)), None)
    if norm is None or dense is None or dense.transposed:
        raise NoPartError(next(iter(x.name for x in leaves[::-1] if same(x.result, given)), type(t.model).__name__),
                          "a head after something else than final states, or a product, an activation and a norm")
    errors = {act: difference(activation(act)(dense.result.clone()), norm.given) for act in ACTS}
    act = min(ACTS, key=errors.__getitem__)
    error = errors[act]
    if error > CLOSE:
        raise NoPartError(dense.name, "an activation before the head", nearest=act, difference=error)
    part = HeadTransform(act=act, norm=find_norm(norm, t.reader), bias=dense.bias is not None)
    return part, given, (Taken(dense.name, ("head.transform",)), Taken(norm.name, ("head.transform_norm",)))


def _head(t: Traced, states: Tensor) -> tuple[HeadSpec, tuple[Taken, ...]]:
    """The head: a product, a factor, a cap."""
    module = t.model.get_output_embeddings()
    name = next((name for name, found in t.model.named_modules() if found is module), None)
    if module is None or name is None:
        raise NoPartError(type(t.model).__name__, "a head that is a product")
    transform, states, taken = _transform(t, states, t.given(name))
    bias = module.bias if isinstance(getattr(module, "bias", None), Tensor) else None
    plain, wanted = F.linear(states, module.weight.detach(), bias), t.trace.logits
    if len(module.weight) != len(t.model.get_input_embeddings().weight):
        raise NoPartError(name, "a head of as many rows as the table of tokens has")
    tied = module.weight is t.model.get_input_embeddings().weight
    taken += (Taken(name, ("head",)),)
    if difference(plain, wanted) <= CLOSE:
        return HeadSpec(bias=bias is not None, tied=tied, transform=transform), taken
    if bias is None:
        factor = ratio(wanted, plain)
        if factor is not None and difference(factor * plain, wanted) <= CLOSE:
            return HeadSpec(tied=tied, scale=float(f"{factor:.6g}")), taken
        for cap in [x for key, x in t.reader.all_values().items() if "cap" in key and isinstance(x, int | float) and x]:
            capped = cap * torch.tanh(plain / cap)
            if difference(capped, wanted) <= CLOSE:
                return HeadSpec(tied=tied, softcap=float(cap)), taken
    raise NoPartError(name, head_kind(plain, wanted), nearest="a product", difference=difference(plain, wanted))
