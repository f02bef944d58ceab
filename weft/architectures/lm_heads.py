"""Heads of masked language models: from a token's state to a logit for each token of the vocabulary.

An embedder leaves them out; SPLADE makes a weight for each token of the vocabulary of them.
"""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.pooling_spec import DenseNormSpec, DenseSpec, HeadLayerSpec
from weft.architectures.reader import ConfigReader


def lm_head(c: ConfigReader, dense: str, norm: str, out: tuple[str, ...], *, eps: float, act: str,
            width: int | None = None) -> tuple[HeadLayerSpec, ...]:
    """A layer with an activation, a norm, and a matrix with a row for each token.

    dense, norm, out: stems of their names in a checkpoint. eps: of the norm. width: of the first layer's output; None:
    that of the states.
    """
    return (DenseSpec(names=(dense,), out_features=width or keys.hidden_size(c), act=act, bias=None),
            DenseNormSpec(names=(norm,), eps=eps, bias=None),
            DenseSpec(names=out, out_features=c.positive("vocab_size"), bias=None))


def bert_lm_head(c: ConfigReader, *, eps: float) -> tuple[HeadLayerSpec, ...]:
    """BERT's. Source: `BertLMPredictionHead` of Transformers."""
    stem = "cls.predictions."
    return lm_head(c, f"{stem}transform.dense", f"{stem}transform.LayerNorm", (f"{stem}decoder", "cls.predictions"),
                   eps=eps, act=keys.activation(c, default="gelu"))


def roberta_lm_head(c: ConfigReader, *, eps: float) -> tuple[HeadLayerSpec, ...]:
    """RoBERTa's, whose activation is always GELU. Source: `RobertaLMHead` of Transformers."""
    return lm_head(c, "lm_head.dense", "lm_head.layer_norm", ("lm_head.decoder", "lm_head"), eps=eps, act="gelu")
