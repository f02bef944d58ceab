"""How a layer is wired: which norms are before and after its two parts, and what is added to what, by the numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from weft.architectures.spec import BlockSpec
from weft.discover.attention import find_attention
from weft.discover.attention_pieces import attention_pieces
from weft.discover.ffn import find_mlp
from weft.discover.found import Found, Taken, Winners
from weft.discover.mixture import find_mixture, mixture_name, with_shared
from weft.discover.no_part import NoPartError
from weft.discover.norms import find_norm, is_norm
from weft.discover.traced import CLOSE, Leaf, Product, Traced, same
from weft.testing.diagnosis import difference, ratio


@dataclass(frozen=True, slots=True, eq=False)
class FoundBlock:
    """A layer's part, and where its weights come from: homes within the block."""

    spec: BlockSpec
    taken: tuple[Taken, ...]


def find_block(t: Traced, layer: int, winners: Winners) -> FoundBlock:
    """The block of a layer. NoPartError names what has no part."""
    prefix = t.layers[layer]
    pieces = attention_pieces(t, layer)
    mixer = find_attention(t, layer, pieces, winners)
    rest = [x for x in t.leaves(f"{prefix}.") if x.name not in mixer.modules]
    mixture = mixture_name(t, prefix, pieces.name)
    if mixture is None:
        ffn = find_mlp(t.reader, prefix, [x for x in rest if isinstance(x, Product)],
                       [x for x in rest if not isinstance(x, Product)])
    else:
        ffn = find_mixture(t, mixture, winners)
        beside = [x for x in rest if isinstance(x, Product) and not x.name.startswith(f"{mixture}.")]
        ffn = with_shared(ffn, find_mlp(t.reader, prefix, beside)) if beside else ffn
    norms = [x for x in rest if is_norm(x) and x.name not in ffn.modules
             and not (mixture and x.name.startswith(f"{mixture}."))]
    wired = _Wiring(t, prefix, mixer, ffn, norms)
    spec, taken = wired.block()
    taken += tuple(replace(x, targets=tuple(f"mixer.{name}" for name in x.targets)) for x in mixer.taken)
    taken += tuple(replace(x, targets=tuple(f"ffn.{name}" for name in x.targets)) for x in ffn.taken)
    _check_complete(t, prefix, taken)
    return FoundBlock(spec, taken)


def _check_complete(t: Traced, prefix: str, taken: tuple[Taken, ...]) -> None:
    """NoPartError for a parameter that no part has."""
    known = {x.source for x in taken}
    for name, _ in t.model.get_submodule(prefix).named_parameters():
        whole = f"{prefix}.{name}"
        if whole.rpartition(".")[0] not in known and whole not in known and t.runs(whole):
            raise NoPartError(whole, "a parameter that no part of the block has")


class _Wiring:
    """The norms and sums around a layer's two parts."""

    def __init__(self, t: Traced, name: str, mixer: Found, ffn: Found, norms: list[Leaf]) -> None:
        self._t, self._name, self._mixer, self._ffn = t, name, mixer, ffn
        self._left = list(norms)
        self._h, self._out = t.given(name), t.result(name)
        self._places: dict[str, Leaf] = {}

    def block(self) -> tuple[BlockSpec, tuple[Taken, ...]]:
        """(spec, where the norms' weights come from). NoPartError when no sum explains the layer's result."""
        self._place("mixer_norm", given=self._h, result=self._mixer.given)
        if "mixer_norm" not in self._places and not same(self._mixer.given, self._h):
            raise NoPartError(self._name, "what goes into attention is neither the layer's input nor a norm of it")
        found = self._after_sum() or self._parallel() or self._in_turn()
        if self._left:
            raise NoPartError(self._left[0].name, "a norm at a place that no block has")
        spec = BlockSpec(mixer=self._mixer.part, ffn=self._ffn.part,
                         **{place: self._norm(place) for place in ("mixer_norm", "ffn_norm", "mixer_post_norm",
                                                                   "ffn_post_norm")}, **found)
        has = {place: leaf for place, leaf in self._places.items() if next(leaf.module.parameters(), None) is not None}
        return spec, tuple(Taken(leaf.name, (place,)) for place, leaf in has.items())

    def _norm(self, place: str) -> Any:
        return find_norm(self._places[place], self._t.reader) if place in self._places else None

    def _place(self, place: str, *, given: Tensor | None = None, result: Tensor | None = None) -> Tensor | None:
        """What comes out of the first norm left that has this input and output; the norm gets the place."""
        for leaf in self._left:
            if (given is None or same(leaf.given, given)) and (result is None or same(leaf.result, result)):
                self._places[place] = leaf
                self._left.remove(leaf)
                return leaf.result
        return None

    def _after_sum(self) -> dict[str, Any] | None:
        """Norms after each sum (OPT 350m, GPT 1): h = norm(h + mixer(h)), twice."""
        if self._places:
            return None
        h1 = self._place("mixer_norm", given=self._h + self._mixer.result)
        if h1 is None:
            return None
        out = self._place("ffn_norm", given=h1 + self._ffn.result, result=self._out)
        if out is None or not same(self._ffn.given, h1):
            raise NoPartError(self._name, "a sum after the feed-forward part, with a norm after it")
        return {"post_residual": True}

    def _parallel(self) -> dict[str, Any] | None:
        """Both parts read the layer's input, and both results are added to it."""
        shared = same(self._ffn.given, self._mixer.given)
        own = not shared and any(same(x.given, self._h) and same(x.result, self._ffn.given) for x in self._left)
        if not shared and not own:
            return None
        scale = self._scale(self._out - self._h, self._mixer.result + self._ffn.result)
        if scale is None:
            return None
        if own:
            self._place("ffn_norm", given=self._h, result=self._ffn.given)
        return {"parallel": True, "residual_scale": scale}

    def _in_turn(self) -> dict[str, Any]:
        """h += scale * post(mixer(norm(h))), then the same with the feed-forward part."""
        added = self._place("mixer_post_norm", given=self._mixer.result)
        added = self._mixer.result if added is None else added
        h1 = next((x.given for x in self._left if same(x.result, self._ffn.given)
                   and self._scale(x.given - self._h, added) is not None), None)
        if h1 is not None:
            self._place("ffn_norm", given=h1, result=self._ffn.given)
        else:
            h1 = self._ffn.given
        scale = self._scale(h1 - self._h, added)
        if scale is None:
            raise NoPartError(self._name, "a sum after attention", nearest="the input and what attention returned",
                              difference=difference(h1 - self._h, added))
        more = self._place("ffn_post_norm", given=self._ffn.result)
        more = self._ffn.result if more is None else more
        second = self._scale(self._out - h1, more)
        if second is None or abs(second - scale) > 1e-3 * abs(scale):
            raise NoPartError(self._name, "a sum after the feed-forward part",
                              nearest=f"the sum with a factor of {scale:g}",
                              difference=difference(self._out - h1, scale * more))
        return {"residual_scale": scale}

    def _scale(self, found: Tensor, wanted: Tensor) -> float | None:
        """The factor between two results, 1.0 where they are equal; None: none explains them."""
        if found.shape != wanted.shape:
            return None
        if difference(found, wanted, self._h) <= CLOSE:
            return 1.0
        factor = ratio(found, wanted)
        if factor is None or difference(found, factor * wanted, self._h) > CLOSE:
            return None
        return float(f"{factor:.5g}")
