"""`cut_at_quiet`: long audio in pieces that a model hears at once, cut where the sound is quietest."""

from __future__ import annotations

import numpy as np

_SEARCHED = 5.0                      # seconds at a piece's end in which the quietest place is looked for
_WINDOW = 0.1                        # seconds of sound whose mean energy counts


def cut_at_quiet(samples: np.ndarray, rate: int, longest: int) -> list[tuple[int, int]]:
    """[(first sample, end)] of pieces of at most `longest` samples, one after another. samples: [n] float32."""
    pieces, first, window = [], 0, max(1, int(_WINDOW * rate))
    searched = min(int(_SEARCHED * rate), longest // 2)
    while len(samples) - first > longest:
        end = first + longest
        sound = samples[end - searched : end]
        count = max(1, len(sound) // window)
        energy = np.array([float(np.mean(np.square(part))) for part in np.array_split(sound, count)])
        quietest = int(np.argmin(energy))
        cut = end - searched + int((quietest + 0.5) * len(sound) / count)
        pieces.append((first, cut))
        first = cut
    return [*pieces, (first, len(samples))]
