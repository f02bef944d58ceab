"""The parts behind a model's states, which make vectors or logits of labels. `layers/pooler.py` runs them.

A description says which classifiers its family has; `models/pooling.py` adds what a checkpoint's files and a user's
options say, and makes the one `PoolerSpec` of a built model.
"""

from __future__ import annotations

from typing import Literal

from weft.architectures.part import Part, part

SeqPooling = Literal["cls", "last", "mean", "max", "sum", "mean_sqrt_len", "weighted_mean"]
TokenPooling = Literal["all", "step"]


@part
class DenseSpec(Part):
    """One layer of a head: act(x @ weight.T + bias), in float32.

    names: stems of its tensors in a checkpoint; the first is the one that today's files have. A stem with a slash is in
    the files of that folder ("2_Dense/linear"), or is that file of torch ("sparse_linear.pt/"). out_features: rows of
    the matrix; None: one for each label, or of a projection as many as the checkpoint has. bias: None: if the
    checkpoint has one. act: a function's name, as `layers/head_layers.py` knows it: softmax, log1p_relu, a name of
    `ops/activation`, or of a class in torch.nn.modules ("torch.nn.modules.activation.Tanh").
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


@part
class UnitSpec(Part):
    """Scales a vector to length 1 between two layers of a head."""

    names: tuple[str, ...] = ()


HeadLayerSpec = DenseSpec | DenseNormSpec | UnitSpec


@part
class ClassifierSpec(Part):
    """The layers from a state to the logits of labels.

    layers: in order. pooling: which state of a prompt they are applied to; None: to each token's (token
    classification). of_tokens: the layers also mean something for each token. token_pooling: as of PoolerSpec, unless
    the user says otherwise. pools_logits: the layers come first and the logits of the tokens are pooled (EuroBERT).
    """

    layers: tuple[HeadLayerSpec, ...]
    pooling: SeqPooling | None
    of_tokens: bool = False
    token_pooling: TokenPooling = "all"
    pools_logits: bool = False


@part
class LabelTokensSpec(Part):
    """A generating model read as a classifier: a label is the logit of a token, as the head for tokens has it.

    ids: the tokens. reads_difference: the one label is the second's logit minus the first's, and two texts are joined
    as they are. scale, softcap: of that head.
    """

    ids: tuple[int, ...]
    reads_difference: bool = False
    scale: float = 1.0
    softcap: float | None = None


@part
class PoolerSpec(Part):
    """How a built model turns a prompt's states [T, E] into what a pooling request asks for.

    pooling: of the prompt's states into one vector; the results of several are put one behind the other.
    token_layers: between each token's state and that pooling, which is "max" or "sum" then. (SPLADE: the head of a
    masked language model, so a vector has a weight for each token of the vocabulary.) Tasks of tokens do without them.
    skips: ids of a first and of a last token whose states are left out; None: not left out.
    projections: layers behind that vector (of sentence-transformers). normalize: a vector is scaled to length 1 unless
    a request says otherwise. late_interaction: texts are compared token by token; the projections are of tokens.
    is_matryoshka: a vector may be cut to its first numbers; dimensions: to these sizes only; (): to any.
    default_dimensions: the size that requests get unless they say otherwise; None: the whole.
    token_pooling: whose states a task of tokens gives: "all", or those of the token step_tag_id ("step").
    label_tokens: the classifier's rows are those of the head for these tokens; None: it has rows of its own.
    returned_labels: the columns of a token's row that are given; (): all.

    classifier: the model gives logits of labels instead of vectors; None: it gives vectors. num_labels: of the
    classifier. act: the function of its logits: "softmax", "sigmoid", "identity" or a class in torch.nn.modules.
    logit_mean, logit_sigma: (logit - mean) / sigma comes before that.
    uses_act: whether normalising or the function is applied unless a request says otherwise; None: as the model has it.
    task: the only task that requests may have; None: all that the model is for.
    """

    pooling: tuple[SeqPooling, ...]
    token_layers: tuple[HeadLayerSpec, ...] = ()
    skips: tuple[int | None, int | None] = (None, None)
    projections: tuple[HeadLayerSpec, ...] = ()
    normalize: bool = True
    late_interaction: bool = False
    is_matryoshka: bool = False
    dimensions: tuple[int, ...] = ()
    default_dimensions: int | None = None
    token_pooling: TokenPooling = "all"
    step_tag_id: int | None = None
    returned_labels: tuple[int, ...] = ()
    classifier: ClassifierSpec | None = None
    label_tokens: LabelTokensSpec | None = None
    num_labels: int = 0
    act: str = "softmax"
    logit_mean: float | None = None
    logit_sigma: float | None = None
    uses_act: bool | None = None
    task: str | None = None

    @property
    def heads(self) -> dict[str, tuple[HeadLayerSpec, ...]]:
        """{name of a pooler's part: its layers}."""
        classifier = () if self.classifier is None else self.classifier.layers
        return {"token_layers": self.token_layers, "projections": self.projections, "classifier": classifier}

    def describe(self, *, sizes: bool = True) -> str:
        """`mean of its states, then scaled to length 1`."""
        if self.classifier is not None:
            return f"{len(self.classifier.layers)} layers to {self.num_labels} labels, then {self.act}"
        of = f"{len(self.token_layers)} layers of its tokens" if self.token_layers else "its states"
        then = [f"{len(self.projections)} layers"] * bool(self.projections)
        then += ["scaled to length 1"] * self.normalize
        return f"{' and '.join(self.pooling)} of {of}{''.join(f', then {word}' for word in then)}"
