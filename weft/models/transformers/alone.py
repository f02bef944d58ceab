"""`each_alone`: a step of a model that runs unmodified, one sequence after another."""

from __future__ import annotations

import torch
from torch import Tensor

from weft.models.transformers.cache_own import OwnCaches
from weft.models.transformers.pooling import WholePrompts
from weft.ops.step import Step


def each_alone(own: OwnCaches | WholePrompts, step: Step) -> Tensor:
    """The rows [T, ...] of a step, one sequence after another."""
    rows, out = 0, []
    for place, encoder_ids in step.encoder_ids.items():
        own.encode(step.request_ids[place], encoder_ids)
    for place, media in step.media.items():
        assert isinstance(own, OwnCaches), "a pooling model is given no media"
        own.show(step.request_ids[place], media)
    for request_id, count in zip(step.request_ids, step.query_lens, strict=True):
        ids = step.input_ids[rows : rows + count].tolist()
        out.append(own.states(request_id, int(step.positions[rows]), ids, step.types_of(rows, count)))
        rows += count
    return torch.cat(out)
