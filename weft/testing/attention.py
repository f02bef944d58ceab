"""Tells why attention differs: norms of q and k, rotation, scale, softcap or mask."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from weft.architectures import words
from weft.architectures.spec import AttentionSpec
from weft.testing.calls import Call
from weft.testing.diagnosis import difference, first_position, norm_kind, worst
from weft.testing.reference import SeenAttention, Trace
from weft.testing.report import Fault
from weft.testing.sources import Sources

_SAME = 1e-5       # relative difference of two options that are one


def attention_fault(number: int, layer: str, spec: Any, call: Call, sources: Sources, trace: Trace, tolerance: float,
                    config: Any) -> Fault | None:
    """The fault between the product for q, k and v and the one after attention; None without a difference.

    number: of the block; layer: Transformers' name of it. call: of the part that attends. config: Transformers'.
    """
    source = sources.by_home.get(f"blocks.{number}.mixer.o")
    theirs = None if source is None else trace.input(source.module, len(call.result))
    if source is None or theirs is None:
        return None
    ours = call.result.flatten(1)
    if ours.shape != theirs.shape or difference(ours, theirs) <= tolerance:
        return None
    seen = next((found for name, found in trace.attention.items() if name.startswith(f"{layer}.")), None)
    part, kind, detail = _why(spec, call, seen, ours, theirs, tolerance, config)
    pair = worst(ours, theirs)
    return Fault(layer=number, part=f"blocks.{number}.mixer.{part}", kind=kind, error=difference(ours, theirs),
                 position=first_position(ours, theirs, tolerance), ours=pair[0], theirs=pair[1],
                 other=f"the input of {source.module}", detail=detail)


def _why(spec: Any, call: Call, seen: SeenAttention | None, ours: Tensor, theirs: Tensor, tolerance: float,
         config: Any) -> tuple[str, str, str]:
    """(field of the spec, kind, detail)."""
    found = None if seen is None or not isinstance(spec, AttentionSpec) else _of_heads(spec, call, seen, tolerance,
                                                                                         config)
    found = found or (None if seen is None else _of_options(spec, seen))
    if found is not None:
        return found
    start = first_position(ours, theirs, tolerance)
    window = "none" if spec.window is None else str(spec.window)
    there = "" if seen is None else f"; Transformers passes sliding_window {seen.options.get('sliding_window')}"
    if start is not None and start > 1:
        return "mask", f"mask: the window, or which layers have one (tokens differ from position {start} on)", \
            f"window {window}{there}"
    if start == 1:
        return "positions", "positions (rotation, ALiBi), scale or softcap of the scores", \
            f"positions {words.describe(spec.positions, 'none')}, scale {spec.scale:g}"
    return "v", "values, sinks, or a mask that is not causal", f"window {window}{there}"


def _of_heads(spec: AttentionSpec, call: Call, seen: SeenAttention, tolerance: float,
              config: Any) -> tuple[str, str, str] | None:
    """A fault in q, k or v as they enter attention."""
    for name in ("v", "q", "k"):
        mine, other = call.given[name].float(), getattr(seen, name)
        if mine.shape != other.shape or difference(mine.flatten(1), other.flatten(1)) <= tolerance:
            continue
        if name == "v":
            return "v", "values: clip, or the order of heads", f"clip {spec.clip}"
        if difference(mine[:1].flatten(1), other[:1].flatten(1)) <= tolerance:
            there = getattr(config, "rope_parameters", None) or getattr(config, "rope_theta", None)
            return "positions", "rope: theta (base), scaling, rotary_dim or the pairing of dimensions", \
                f"{spec.positions}; Transformers has {there}"
        heads = mine.flatten(0, 1), other.flatten(0, 1)
        kind = f"norm of {name}: {norm_kind(*heads)}" if spec.qk_norm is not None else \
            f"norm of {name} (there is none here), clip, or the factor of the rotation"
        return "qk_norm", kind, f"{spec.qk_norm}, clip {spec.clip}"
    return None


def _of_options(spec: Any, seen: SeenAttention) -> tuple[str, str, str] | None:
    """A fault in what attention is told."""
    scale = seen.options.get("scaling")
    if isinstance(scale, float) and abs(scale - spec.scale) > _SAME * abs(scale):
        return "scale", f"scale of the scores: {spec.scale:.6g} here, {scale:.6g} in Transformers", ""
    softcap, mine = seen.options.get("softcap"), getattr(spec, "softcap", None)
    if softcap != mine and "softcap" in seen.options:
        return "softcap", f"softcap of the scores: {mine} here, {softcap} in Transformers", ""
    return None
