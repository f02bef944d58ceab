"""The classifiers that families share, and what a config says about labels."""

from __future__ import annotations

from dataclasses import dataclass

from weft.architectures import keys
from weft.architectures.pooling_spec import ClassifierSpec, DenseSpec
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import EncoderSpec, ModelSpec
from weft.errors import ConfigError

_DIFFERENCE = "from_2_way_softmax"
_DEFAULT_LABELS = 2      # Transformers' number of labels where a config names none
_PROBLEMS = {"regression": "identity", "single_label_classification": "softmax",
             "multi_label_classification": "sigmoid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a config says about its labels. act: the function of the logits, as `PoolerSpec.act`.

    tokens: of a generating model that is read as a classifier, the tokens (texts or ids) whose likelihood the labels
    are; (): it has a classifier of its own. reads_difference: the one label is the second token against the first.
    """

    num_labels: int
    act: str
    tokens: tuple[str | int, ...] = ()
    reads_difference: bool = False


def read_labels(c: ConfigReader) -> Labels:
    """The labels of a config: `num_labels`, else as many as `id2label` has, else 2.

    The function of the logits is that of `problem_type`; without one it is the function that sentence-transformers has
    written for a cross-encoder; else softmax. (`models/pooling.py` makes that sigmoid for a single label.)
    """
    tokens, reads_difference = _label_tokens(c)
    names = c.dict("id2label", default=None)
    if names and not all(str(key).isdecimal() for key in names):
        raise c.error("id2label", names, "an object whose keys are the labels' numbers")
    count = c.positive("num_labels", default=None) or (len(names) if names else _DEFAULT_LABELS)
    if tokens:
        count = 1 if reads_difference else len(tokens)
    problem = c.choice("problem_type", allowed=_PROBLEMS, default=None)
    named = _cross_encoder_function(c)
    act = "softmax" if problem is None and named is None else named if problem is None else _PROBLEMS[problem]
    assert act is not None
    return Labels(num_labels=count, act=act, tokens=tokens, reads_difference=reads_difference)


def _label_tokens(c: ConfigReader) -> tuple[tuple[str | int, ...], bool]:
    """(`classifier_from_token`, whether its two tokens make one label). () where the config has no such key."""
    listed: list[str | int] | None = c.list("classifier_from_token", default=None)
    tokens = tuple(listed or ())
    method = c.choice("method", allowed=(_DIFFERENCE, "no_post_processing"), default=None) if tokens else None
    if c.bool("is_original_qwen3_reranker", default=False):
        method = _DIFFERENCE
        if not tokens:
            raise c.error("classifier_from_token", None, "two tokens, such as no and yes, for a Qwen3 reranker")
    if not tokens:
        return (), False
    if not all(isinstance(token, str) or type(token) is int for token in tokens):
        raise c.error("classifier_from_token", list(tokens), "a list of tokens, texts or ids")
    if method is None:
        raise c.error("method", None, f"{_DIFFERENCE} or no_post_processing beside classifier_from_token")
    if method == _DIFFERENCE and len(tokens) != 2:
        raise c.error("classifier_from_token", list(tokens), f"two tokens for the method {_DIFFERENCE}")
    return tokens, method == _DIFFERENCE


def _cross_encoder_function(c: ConfigReader) -> str | None:
    """The name of the function that sentence-transformers applies to the logits; None: the config names none."""
    own = c.dict("sentence_transformers", default=None)
    key, named = "sbert_ce_default_activation_function", c.str("sbert_ce_default_activation_function", default=None)
    if own is not None and own.get("activation_fn") is not None:
        key, named = "sentence_transformers.activation_fn", own["activation_fn"]
    if named is None:
        return None
    if not isinstance(named, str) or not named.startswith("torch.nn.modules."):
        raise c.error(key, named, "a class in torch.nn.modules: weft runs no other code that a config names")
    return named


def classifier_of(spec: ModelSpec, *, of_tokens: bool, architecture: str, source: str = "") -> ClassifierSpec:
    """The classifier behind a model's states. ConfigError for a family that has none of this kind.

    of_tokens: the one of `…ForTokenClassification`.
    """
    own = spec.token_classifier if of_tokens else spec.sequence_classifier
    if own is not None:
        return own
    if of_tokens:
        names = ("classifier",) if isinstance(spec, EncoderSpec) else ("score", "classifier")
        return ClassifierSpec(pooling=None, layers=(DenseSpec(names=names, out_features=None, bias=None),))
    if isinstance(spec, EncoderSpec):
        raise ConfigError("architectures", architecture, expected="a family whose classifier weft knows", source=source,
                          hint="Give its description a sequence_classifier (docs/parts.md).")
    return ClassifierSpec(pooling="last", of_tokens=True,
                          layers=(DenseSpec(names=("score",), out_features=None, bias=None),))


def pooled_classifier(c: ConfigReader, prefix: str, *, act: str = "tanh") -> ClassifierSpec:
    """BERT's: a layer with an activation on the first token's state (its "pooler"), then one to the labels.

    prefix: of the body's names ("bert.").
    """
    return ClassifierSpec(pooling="cls", layers=(
        DenseSpec(names=(f"{prefix}pooler.dense",), out_features=keys.hidden_size(c), act=act),
        DenseSpec(names=("classifier",), out_features=None)))


def dense_classifier(c: ConfigReader, dense: str, out: str, *, act: str) -> ClassifierSpec:
    """Two layers behind the first token's state: `classifier.dense` and `classifier.out_proj` of RoBERTa, and so on.

    dense, out: stems of their names in a checkpoint. act: of the first.
    """
    return ClassifierSpec(pooling="cls", layers=(
        DenseSpec(names=(dense,), out_features=keys.hidden_size(c), act=act),
        DenseSpec(names=(out,), out_features=None)))
