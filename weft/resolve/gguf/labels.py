"""What a GGUF file says about pooling: llama.cpp's numbers of pooling types, and the labels of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.resolve.gguf.header import GGUFTensor

RANK = 4                                                # the pooling type of classifiers and rerankers
POOLINGS = {None: None, 0: None, 1: "MEAN", 2: "CLS", 3: "LAST", RANK: None}
LAYERS = ("cls.output.weight", "cls.weight")            # the layer to labels; the second where there is no first


def labels_in(tensors: Mapping[str, GGUFTensor], names: Any) -> dict[int, str]:
    """{row of the layer to labels: the label's name}; empty for a file without such a layer.

    names: the file's list of labels, which counts if it has one for each row.
    """
    stored = next((tensors[layer] for layer in LAYERS if layer in tensors), None)
    if stored is None:
        return {}
    rows = stored.shape[0] if len(stored.shape) == 2 else 1
    fits = isinstance(names, list) and len(names) == rows
    return {row: str(names[row]) if fits else f"LABEL_{row}" for row in range(rows)}
