"""`Cleanup`: the removal of the spaces that WordPiece-like decoders leave before punctuation, on text that streams in.

Source: `clean_up_tokenization` of transformers, whose replacements these are, in its order. Knows no tokens.
"""

from __future__ import annotations

_REPLACEMENTS = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
    (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)


class Cleanup:
    """Replaces in a stream what `str.replace` would in the whole text, one pattern after the other."""

    def __init__(self) -> None:
        self._held = [""] * len(_REPLACEMENTS)   # for each pattern: the end of its input that may begin a match

    def push(self, text: str) -> str:
        """The cleaned text that no later text can change."""
        for i, (pattern, replacement) in enumerate(_REPLACEMENTS):
            # What a replacement wrote is not looked at again, so only the part after the last match can begin another.
            *before, rest = (self._held[i] + text).split(pattern)
            cut = len(rest) - _overlap(rest, pattern)
            text, self._held[i] = replacement.join((*before, rest[:cut])), rest[cut:]
        return text

    def peek(self, text: str = "") -> str:
        """What would follow if the text ended with `text`; changes nothing."""
        for held, (pattern, replacement) in zip(self._held, _REPLACEMENTS, strict=True):
            text = (held + text).replace(pattern, replacement)
        return text


def _overlap(text: str, pattern: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `pattern`."""
    return next((n for n in range(min(len(text), len(pattern) - 1), 0, -1) if text.endswith(pattern[:n])), 0)
