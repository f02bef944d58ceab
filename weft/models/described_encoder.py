"""`DescribedEncoder`: a model that an `EncoderSpec` describes, as the engine drives it."""

from __future__ import annotations

from torch import Tensor

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import EncoderSpec, PoolerSpec
from weft.checkpoint.reader import Checkpoint
from weft.layers.context import LayerContext
from weft.layers.pooler import Pooler
from weft.models.described import DescribedStack
from weft.models.encoder import Encoder
from weft.pooling_params import BUILT_TASKS


class DescribedEncoder(DescribedStack):
    """As EngineModel. pooler_spec: how a prompt's states become one vector."""

    tasks = frozenset(BUILT_TASKS)
    prompt_embeds_size = None

    def __init__(self, spec: EncoderSpec, pooler_spec: PoolerSpec, reader: ConfigReader,
                 checkpoint: Checkpoint | None, context: LayerContext) -> None:
        then = ", then scaled to length 1" if pooler_spec.normalize else ""
        super().__init__(spec, Encoder(spec, context=context), reader, checkpoint, context,
                         num_outputs=spec.hidden_size,
                         head=f"none; a prompt's vector is {pooler_spec.kind} of its states{then}")
        self.pooler = Pooler(pooler_spec)

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Never called: the task "generate", which needs logits, is none of an encoder's."""
        raise AssertionError("an encoder has no head")
