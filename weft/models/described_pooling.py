"""`DescribedPooling`: a described encoder, or a decoder's body, whose states are pooled, as the engine drives it."""

from __future__ import annotations

from torch import Tensor

from weft.architectures.names import NameMap, Rule
from weft.architectures.pooling_spec import HeadLayerSpec
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import ModelSpec, PoolerSpec
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.pooler import Pooler
from weft.models.described import DescribedStack, names_in
from weft.models.label_tokens import fill_from_head
from weft.models.pooled_stack import PooledStack
from weft.models.pooler_weights import load_modules


class DescribedPooling(DescribedStack):
    """As EngineModel. pooler_spec: what is made of a prompt's states."""

    prompt_embeds_size = None
    module: PooledStack
    pooler: Pooler

    def __init__(self, spec: ModelSpec, pooler_spec: PoolerSpec, reader: ConfigReader,
                 checkpoint: Checkpoint | None, context: LayerContext) -> None:
        self._names = None if checkpoint is None else pooling_names(names_in(checkpoint, spec), spec, pooler_spec)
        self.pooler = Pooler(pooler_spec, spec.hidden_size, _bias_finder(checkpoint, self._names))
        self.tasks = self.pooler.tasks
        super().__init__(spec, PooledStack(spec, context=context, pooler=self.pooler), reader, checkpoint, context,
                         num_outputs=spec.hidden_size, head=f"none; a prompt becomes {pooler_spec.describe()}")

    def names(self) -> NameMap:
        """The family's names and those of the heads' tensors."""
        assert self._names is not None, "a model that is only looked at reads no tensors"
        return self._names

    def homes(self) -> dict[str, Home]:
        """Without the layers that lie in folders of their own, or are made of rows of the head for tokens."""
        others = ("pooler.projections.", *(("pooler.classifier.",) if self.pooler.spec.label_tokens else ()))
        return {name: home for name, home in super().homes().items() if not name.startswith(others)}

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel, and the layers in folders of their own."""
        report = super().load(max_model_len=max_model_len, use_tqdm=use_tqdm)
        assert self._checkpoint is not None
        load_modules(self.pooler, self._checkpoint.path, is_dummy=self._checkpoint.is_dummy)
        if self.pooler.spec.label_tokens and not self._checkpoint.is_dummy:
            fill_from_head(self.pooler, self._checkpoint, names_in(self._checkpoint, self.spec))
        return report

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Never called: the task "generate", which needs logits, is none of a pooling model's."""
        raise AssertionError("a pooling model has no head for tokens")


def pooling_names(names: NameMap, spec: ModelSpec, pooler: PoolerSpec) -> NameMap:
    """A family's names without the head for tokens, and with the layers of the pooler's classifier.

    Tensors of that head, and of a classifier that the model is not built with, may be there and are not loaded.
    """
    layers = () if pooler.classifier is None else pooler.classifier.layers
    used = {name for layer in layers for name in layer.names}
    known = [*_stems(spec), "score", "classifier"]
    unused = tuple(name for name in dict.fromkeys(known) if name not in used)
    head = tuple(rule.source for rule in names.rules if any(target.startswith("head") for target in rule.targets))
    own = tuple(Rule(name, (f"pooler.classifier.{i}",)) for i, layer in enumerate(layers) for name in layer.names)
    body = tuple(rule for rule in names.rules if rule.source not in head)
    return NameMap(rules=own + body, optional_prefix=names.optional_prefix, ignored=names.ignored + head + unused,
                   ignored_prefixes=names.ignored_prefixes, by_row=names.by_row)


def _stems(spec: ModelSpec) -> list[str]:
    classifiers = (spec.sequence_classifier, spec.token_classifier)
    return [name for head in classifiers if head is not None for layer in head.layers for name in layer.names]


def _bias_finder(checkpoint: Checkpoint | None, names: NameMap | None):
    """Whether a checkpoint has a bias for a layer of a head whose spec leaves that open."""
    def has_bias(layer: HeadLayerSpec) -> bool:
        if checkpoint is None or names is None:
            return False
        return any(f"{name}.bias" in checkpoint.tensors for name in layer.names)

    return has_bias
