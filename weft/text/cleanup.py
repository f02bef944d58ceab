"""`Cleanup`: removes the spaces that WordPiece-like decoders leave before punctuation, in streaming text.

The replacements and their order are those of `clean_up_tokenization` in transformers. Knows no tokens.
"""

from __future__ import annotations

_REPLACEMENTS = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)


class Cleanup:
    """Gives a stream the result that `str.replace`, with one pattern after the other, gives for the whole text."""

    def __init__(self) -> None:
        self._held = [""] * len(_REPLACEMENTS)   # for each pattern: the tail of its input that may begin a match

    def push(self, text: str) -> str:
        """The cleaned text that no later text can change."""
        for i, (pattern, replacement) in enumerate(_REPLACEMENTS):
            # Replaced text is not searched again, so only the text after the last match can begin another match.
            *before, rest = (self._held[i] + text).split(pattern)
            cut = len(rest) - _overlap(rest, pattern)
            text, self._held[i] = replacement.join((*before, rest[:cut])), rest[cut:]
        return text

    def peek(self, text: str = "") -> str:
        """The rest of the cleaned text if the input ended with `text`; changes nothing."""
        for held, (pattern, replacement) in zip(self._held, _REPLACEMENTS, strict=True):
            text = (held + text).replace(pattern, replacement)
        return text


def _overlap(text: str, pattern: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `pattern`."""
    return next((n for n in range(min(len(text), len(pattern) - 1), 0, -1) if text.endswith(pattern[:n])), 0)
