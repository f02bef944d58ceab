"""DRY ("don't repeat yourself"): which next tokens would repeat an earlier passage, and how long it is by now.

Source: https://github.com/oobabooga/text-generation-webui/pull/5677.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

LONGEST = 160      # tokens of a passage that are counted; the penalty is beyond any logit by then


def repeated_lengths(token_ids: Sequence[int], breakers: Collection[int]) -> dict[int, int]:
    """{token: the length of the longest passage at the text's end that stood before this token earlier on}.

    breakers: tokens at which a passage ends.
    """
    ids = np.asarray(token_ids, dtype=np.int64)
    last = len(ids) - 1
    found: dict[int, int] = {}
    at = np.arange(last)                                     # ends of earlier passages, so far of any length
    for length in range(min(LONGEST, last)):
        token = int(ids[last - length])
        if token in breakers:
            break
        at = at[at >= length]
        at = at[ids[at - length] == token]
        if not len(at):
            break
        found |= dict.fromkeys(ids[at + 1].tolist(), length + 1)
    return found
