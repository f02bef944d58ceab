"""`Encoder`: the one module that runs any EncoderSpec. Its final states are the answer: it has no head."""

from __future__ import annotations

from weft.architectures.spec import EncoderSpec
from weft.layers.context import LayerContext
from weft.models.decoder import Stack


class Encoder(Stack):
    """Any encoder."""

    def __init__(self, spec: EncoderSpec, *, context: LayerContext) -> None:
        super().__init__(spec, is_tied=False, context=context)
