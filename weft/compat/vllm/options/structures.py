"""Fields of vLLM's `StructuredOutputsParams` and of the `GuidedDecodingParams` before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.row import NO_EFFECT, SAME, Option, table

_BACKEND = "weft has one backend for grammars (llguidance)"

STRUCTURES = table((
    Option("json", "0.6+", SAME),
    Option("regex", "0.6+", SAME),
    Option("choice", "0.6+", SAME),
    Option("grammar", "0.6+", SAME),
    Option("json_object", "0.6+", SAME),
    Option("structural_tag", "0.8+", SAME),
    Option("disable_any_whitespace", "0.8+", SAME),
    Option("disable_additional_properties", "0.9+", SAME),
    Option("whitespace_pattern", "0.6+", SAME),
    Option("backend", "0.6-0.11", NO_EFFECT, off=("auto", "guidance"), say=_BACKEND),
    Option("backend_was_auto", "0.8-0.11", NO_EFFECT, off=(True, False), say=_BACKEND),
    Option("disable_fallback", "0.9+", NO_EFFECT, off=(True, False), say=_BACKEND),
))


def accept_structures(given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """`accept` for StructuredOutputsParams."""
    return accept(STRUCTURES, given, known=known)
