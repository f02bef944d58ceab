"""Random rows of GGUF's quantized formats: every bit of a block is random, only its scales are of sane size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gguf
import numpy as np
import torch

# name -> where a block's float16 scales are
KINDS = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
}
# About the size of a block's numbers when its scale is 1, so that numbers of size 1 can be made.
_RANGE = {"Q4_0": 5, "Q4_1": 9, "Q5_0": 9, "Q5_1": 18, "Q8_0": 74, "Q2_K": 14, "Q3_K": 37, "Q4_K": 280, "Q5_K": 560,
          "Q6_K": 1200, "IQ4_NL": 67, "IQ4_XS": 1150}


def random_rows(kind: str, shape: Sequence[int], size: float = 1.0, seed: int = 0) -> torch.Tensor:
    """[prod(shape[:-1]), bytes] uint8 for numbers of about this size."""
    random = np.random.default_rng([seed, len(kind), *kind.encode()])
    block, num_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    rows = math.prod(shape[:-1])
    raw = random.integers(0, 256, (rows * shape[-1] // block, num_bytes), dtype=np.uint8)
    for at in KINDS[kind]:
        scales = (size / _RANGE[kind] * random.uniform(0.5, 1.5, (len(raw), 1))).astype(np.float16)
        raw[:, at:at + 2] = scales.view(np.uint8)
    return torch.from_numpy(raw.reshape(rows, -1))
