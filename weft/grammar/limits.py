"""The limits of llguidance's work and memory for one grammar."""

from __future__ import annotations

from llguidance import LLParserLimits


def parser_limits() -> LLParserLimits:
    """Limits for compiling a grammar and for each mask. A grammar that runs into one is refused, or ends its request.

    max_lexer_states: a state takes up to 2 kB. verbose_errors: messages would show the inside of the grammar.
    """
    return LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
