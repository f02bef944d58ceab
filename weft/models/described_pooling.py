"""`DescribedPooling`: a described encoder, or a decoder's body, whose states are pooled, as the engine drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import ModelSpec, PoolerSpec
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.checkpoint.tensor_info import TensorInfo
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.pooler import Pooler
from weft.layers.task_poolers import TaskPoolers, make_pooler
from weft.models.described import DescribedStack, names_in
from weft.models.label_tokens import fill_from_head
from weft.models.pooled_stack import PooledStack
from weft.models.pooler_weights import fill_from_embedding, load_modules, module_homes
from weft.models.pooling_names import has_bias, pooling_names, tied_homes
from weft.models.stored_heads import gguf_pooler, with_sizes


class DescribedPooling(DescribedStack):
    """As EngineModel. poolers: what is made of a prompt's states; several have a task each."""

    prompt_embeds_size = None
    module: PooledStack
    pooler: Pooler | TaskPoolers

    def __init__(self, spec: ModelSpec, poolers: Sequence[PoolerSpec], reader: ConfigReader,
                 checkpoint: Checkpoint | None, context: LayerContext) -> None:
        stored: Mapping[str, TensorInfo] = {} if checkpoint is None else checkpoint.tensors
        self._names, self._tied = None, []
        if checkpoint is not None and checkpoint.is_gguf:
            poolers = [gguf_pooler(one, stored) for one in poolers]
        poolers = [with_sizes(one, stored, spec.hidden_size) for one in poolers]
        if checkpoint is not None:
            self._names = pooling_names(names_in(checkpoint, spec), spec, poolers, stored)
            self._tied = tied_homes(checkpoint, self._names, poolers)
        self.pooler = make_pooler(poolers, spec.hidden_size, lambda layer: has_bias(layer, stored))
        self.tasks = self.pooler.tasks
        super().__init__(spec, PooledStack(spec, context=context, pooler=self.pooler), reader, checkpoint, context,
                         num_outputs=spec.hidden_size,
                         head=f"none; a prompt becomes {'; '.join(one.describe() for one in poolers)}")

    def names(self) -> NameMap:
        """The family's names and those of the heads' tensors."""
        assert self._names is not None, "a model that is only looked at reads no tensors"
        return self._names

    def homes(self) -> dict[str, Home]:
        """Without the layers that lie in files of their own, or are made of the embedding's or the head's rows."""
        apart = {f"pooler.{name}" for name, _ in module_homes(self.pooler).values()} | {*self._tied}
        others = ("pooler.classifier.",) if self.pooler.spec.label_tokens else ()
        return {name: home for name, home in super().homes().items()
                if name not in apart and not name.startswith(others)}

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel, and the layers in folders of their own."""
        report = super().load(max_model_len=max_model_len, use_tqdm=use_tqdm)
        assert self._checkpoint is not None
        for home in self._tied:
            fill_from_embedding(super().homes()[home], self._checkpoint, self.names())
        load_modules(self.pooler, self._checkpoint.path, is_dummy=self._checkpoint.is_dummy)
        if isinstance(self.pooler, Pooler) and self.pooler.spec.label_tokens and not self._checkpoint.is_dummy:
            fill_from_head(self.pooler, self._checkpoint, names_in(self._checkpoint, self.spec))
        return report

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Never called: the task "generate", which needs logits, is none of a pooling model's."""
        raise AssertionError("a pooling model has no head for tokens")
