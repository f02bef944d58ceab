"""The parts behind a model's states, which make vectors or logits of labels. `layers/pooler.py` runs them.

A description says which classifiers its family has; `models/pooling.py` adds what a checkpoint's files and a user's
options say, and makes the one `PoolerSpec` of a built model.
"""

from __future__ import annotations

from typing import Literal

from weft.architectures.part import Part, part

SeqPooling = Literal["cls", "last", "mean"]


@part
class DenseSpec(Part):
    """One layer of a head: act(x @ weight.T + bias), in float32.

    names: stems of its tensors in a checkpoint; the first is the one that today's files have. out_features: rows of the
    matrix; None: one for each label. bias: None: if the checkpoint has one. act: a name of `ops/activation`, or of a
    class in torch.nn.modules ("torch.nn.modules.activation.Tanh").
    """

    names: tuple[str, ...]
    out_features: int | None
    bias: bool | None = True
    act: str | None = None


@part
class DenseNormSpec(Part):
    """A LayerNorm between two layers of a head, in float32.

    names, bias: as of DenseSpec. eps: is added to the variance.
    """

    names: tuple[str, ...]
    eps: float
    bias: bool | None = True


HeadLayerSpec = DenseSpec | DenseNormSpec


@part
class ClassifierSpec(Part):
    """The layers from a state to the logits of labels.

    layers: in order. pooling: which state of a prompt they are applied to; None: to each token's (token
    classification). of_tokens: the layers also mean something for each token. pools_logits: the layers come first and
    the logits of the tokens are pooled (EuroBERT).
    """

    layers: tuple[HeadLayerSpec, ...]
    pooling: SeqPooling | None
    of_tokens: bool = False
    pools_logits: bool = False


@part
class PoolerSpec(Part):
    """How a built model turns a prompt's states [T, E] into what a pooling request asks for.

    pooling: of the prompt's states into one vector. normalize: a vector is scaled to length 1 unless a request says
    otherwise. classifier: the model gives logits of labels instead of vectors; None: it gives vectors.
    num_labels: of the classifier. act: the function of its logits: "softmax", "sigmoid", "identity" or a class in
    torch.nn.modules. uses_act: whether it is applied unless a request says otherwise.
    """

    pooling: SeqPooling
    normalize: bool = True
    classifier: ClassifierSpec | None = None
    num_labels: int = 0
    act: str = "softmax"
    uses_act: bool = True

    def describe(self, *, sizes: bool = True) -> str:
        """`mean of its states, then scaled to length 1`."""
        if self.classifier is not None:
            return f"{len(self.classifier.layers)} layers to {self.num_labels} labels, then {self.act}"
        return f"{self.pooling} of its states{', then scaled to length 1' if self.normalize else ''}"
