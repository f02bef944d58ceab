"""`PooledStack`: the one module that runs any described model whose states are pooled: an encoder, or a decoder's body.

It has no head for tokens; what is made of the states, its `Pooler` knows.
"""

from __future__ import annotations

from weft.architectures.spec import ModelSpec
from weft.layers.context import LayerContext
from weft.layers.embedding import Embedding
from weft.layers.layer import Home
from weft.layers.pooler import Pooler
from weft.layers.task_poolers import TaskPoolers
from weft.models.decoder import Stack


class PooledStack(Stack):
    """Any body with a pooler. pooler None: of a spec that is only looked at."""

    def __init__(self, spec: ModelSpec, *, context: LayerContext, pooler: Pooler | TaskPoolers | None = None) -> None:
        embedding = Embedding(spec.embedding, spec.hidden_size, is_tied=False, context=context)
        super().__init__(spec, embedding, context=context)
        self.pooler = pooler

    def homes(self) -> dict[str, Home]:
        """As Layer, the heads' among them."""
        own = {} if self.pooler is None else self.pooler.homes()
        return super().homes() | {f"pooler.{part}": home for part, home in own.items()}
