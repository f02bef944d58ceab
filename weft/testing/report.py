"""`Report`: what a comparison of weft with Transformers found, as data, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

EQUAL, DIFFERS, SKIPPED = "equal", "differs", "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One way of running the tokens, compared with another.

    name: "forward pass", "chunked prefill", "batching", "decode" or "prefix cache". against: what it is compared with.
    verdict: EQUAL, DIFFERS or SKIPPED. error: the largest relative difference, of logits or of any block's result.
    first: the first place that differs, e.g. "blocks.3"; position: of the first token that differs there.
    note: why nothing was compared.
    """

    name: str
    against: str
    verdict: str
    error: float = 0.0
    first: str = ""
    position: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The first part of the model that gives another result than Transformers for the same input.

    layer: number of the block; None outside blocks. part: weft's name of the part, e.g. "blocks.0.mixer.qkv".
    kind: which parameter of the part is suspected, e.g. "bias". error: the largest relative difference of the results.
    position: of the first token that differs. ours, theirs: the two numbers that differ most.
    other: the module of Transformers that the part was compared with. detail: what weft's description says there.
    """

    layer: int | None
    part: str
    kind: str
    error: float
    position: int | None = None
    ours: float | None = None
    theirs: float | None = None
    other: str = ""
    detail: str = ""

    def text(self) -> str:
        """Some lines."""
        where = "" if self.position is None else f", first at position {self.position}"
        lines = [f"first part that differs: {self.part}", f"  suspected: {self.kind}",
                 f"  relative difference {self.error:.1e}{where}"]
        if self.ours is not None:
            lines[-1] += f": {self.ours:.6g} here, {self.theirs:.6g} in Transformers"
        lines += [f"  compared with: {self.other}"] * bool(self.other)
        return "\n".join(lines + [f"  here: {self.detail}"] * bool(self.detail))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The comparison of one model.

    model: its directory or name. architecture, reference: what ran in weft and what it was compared with.
    num_tokens: tokens that were compared. tolerance: of a part's result for the same input; total_tolerance: of what
    leaves a block or the head after all blocks before it. Both are relative to the largest number of the result.
    parts: {part: relative difference} for the same input.
    """

    model: str
    architecture: str
    reference: str
    num_tokens: int
    tolerance: float
    total_tolerance: float
    checks: tuple[Check, ...]
    fault: Fault | None = None
    parts: dict[str, float]

    @property
    def is_equal(self) -> bool:
        """True when nothing differs."""
        return self.fault is None and all(check.verdict != DIFFERS for check in self.checks)

    @property
    def blame(self) -> tuple[str, ...]:
        """The names of the checks that differ."""
        return tuple(check.name for check in self.checks if check.verdict == DIFFERS)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"is_equal": self.is_equal, "blame": list(self.blame), **asdict(self)}

    def text(self) -> str:
        """Lines for a person."""
        lines = [f"{self.model}: {self.architecture} against {self.reference}, {self.num_tokens} tokens in float32", ""]
        width = max(len(check.name) for check in self.checks)
        lines += [f"  {check.name:<{width}}  {_words(check)}" for check in self.checks]
        if self.fault is not None:
            lines += ["", self.fault.text()]
        lines += ["", "equal" if self.is_equal else f"differs: {', '.join(self.blame) or self.fault_name}"]
        return "\n".join(lines)

    @property
    def fault_name(self) -> str:
        """The part at fault; empty without one."""
        return "" if self.fault is None else self.fault.part


def _words(check: Check) -> str:
    if check.verdict == SKIPPED:
        return f"{SKIPPED}: {check.note}"
    words = f"{check.verdict:<7}  {check.error:.1e} from {check.against}"
    if check.first:
        words += f"; first in {check.first}" + ("" if check.position is None else f" at position {check.position}")
    return words
