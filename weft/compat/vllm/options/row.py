"""`Option`: one option of vLLM and its state here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SAME = "same"                     # weft has the option under the same name
TRANSLATED = "translated"         # the value becomes other options of weft
NO_EFFECT = "no effect"           # any value is accepted; one that asks for something is told once
REFUSED = "refused"               # only values that mean what weft does anyway are accepted
STATES = (SAME, TRANSLATED, NO_EFFECT, REFUSED)
NOT_YET = "weft has no code for it yet."      # of a refused option that has no substitute


@dataclass(frozen=True, slots=True, kw_only=True)
class _Details:
    off: tuple[Any, ...] = ()
    say: str = ""
    read: Callable[[str, Any], Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Option(_Details):
    """One option of vLLM.

    name: vLLM's name, with underscores.
    versions: the first and the last version that has the option; "0.8+": from 0.8 up to the newest.
    state: SAME, TRANSLATED, NO_EFFECT or REFUSED.
    off: values that mean what weft does anyway; they are accepted silently, as None always is.
    say: SAME: how values are read, if not as they are. TRANSLATED: what the option becomes. NO_EFFECT: the reason.
        REFUSED: what to do instead.
    read: (name, value) -> options of weft. For TRANSLATED, and for SAME where vLLM spells values in another way.
    """

    name: str
    versions: str
    state: str

    def is_off(self, value: Any) -> bool:
        """True if the value means what weft does without the option."""
        return value is None or any(_equal(value, off) for off in self.off)


def table(*groups: Iterable[Option]) -> dict[str, Option]:
    """{name: option} of several groups of rows. ValueError if a name is there twice."""
    rows = [option for group in groups for option in group]
    by_name = {option.name: option for option in rows}
    if len(by_name) != len(rows):
        raise ValueError("an option is in the table twice")
    return by_name


def _equal(value: Any, off: Any) -> bool:
    """`value == off` where True is not 1. Objects with an `==` of their own (arrays) never are `off`."""
    if isinstance(off, bool) or isinstance(value, bool):
        return value is off
    if isinstance(off, int | float):
        return isinstance(value, int | float) and value == off
    if isinstance(off, list):      # an empty tuple or set is an empty list
        return isinstance(value, list | tuple | set | frozenset) and list(value) == off
    return type(value) is type(off) and value == off
