"""A model that generates, read as a classifier: each label is a token, its row that of the head for tokens.

So rerankers answer that were trained to say yes or no (config key `classifier_from_token`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from weft.architectures.names import NameMap
from weft.architectures.pooling_spec import DenseSpec, LabelTokensSpec, PoolerSpec
from weft.architectures.spec import HeadSpec
from weft.checkpoint.loader import EMBEDDING, HEAD, HEAD_BIAS, filling
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.routing import Router
from weft.errors import CheckpointError, ConfigError
from weft.layers.pooler import Pooler

_KEY = "classifier_from_token"


def label_token_ids(tokens: Sequence[str | int], path: str, vocab_size: int) -> tuple[int, ...]:
    """The ids of tokens. path: the tokenizer's folder. ConfigError for a token that is none."""
    file = Path(path) / "tokenizer.json"
    names = [token for token in tokens if isinstance(token, str)]
    if names and not file.is_file():
        raise ConfigError(_KEY, list(tokens), expected="ids of tokens",
                          hint=f"{file}, which knows their texts, is missing.")
    tokenizer = Tokenizer.from_file(str(file)) if names else None
    ids = []
    for token in tokens:
        found = token if tokenizer is None or isinstance(token, int) else tokenizer.token_to_id(token)
        if not isinstance(found, int) or not 0 <= found < vocab_size:
            raise ConfigError(_KEY, token, expected="a token of the vocabulary", source=str(file))
        ids.append(found)
    return tuple(ids)


def of_label_tokens(pooler: PoolerSpec, ids: Sequence[int], head: HeadSpec, *, reads_difference: bool) -> PoolerSpec:
    """The pooler with a classifier of the head's rows for these tokens, and what the head does to logits."""
    rows = DenseSpec(names=(), out_features=len(ids), bias=head.bias)
    assert pooler.classifier is not None, "only a classifier has labels"
    return replace(pooler, classifier=replace(pooler.classifier, layers=(rows,)), label_tokens=LabelTokensSpec(
        ids=tuple(ids), reads_difference=reads_difference, scale=head.scale, softcap=head.softcap))


@torch.no_grad()
def fill_from_head(pooler: Pooler, checkpoint: Checkpoint, names: NameMap) -> None:
    """Fill the classifier's one layer with rows of the head for tokens, or of the table that it shares."""
    assert pooler.classifier is not None, "only a classifier has labels"
    assert pooler.spec.label_tokens is not None, "its labels are tokens"
    rows, homes = list(pooler.spec.label_tokens.ids), pooler.classifier.homes()
    router = Router(names)
    name = filling(checkpoint, router, HEAD) or filling(checkpoint, router, EMBEDDING)
    if name is None:
        raise CheckpointError(f"{checkpoint.path}: no tensor for the head, of which {_KEY} reads rows.")
    stored = {"0.weight": name}
    if "0.bias" in homes:
        bias = filling(checkpoint, router, HEAD_BIAS)
        if bias is None:
            raise CheckpointError(f"{checkpoint.path}: no bias of the head, of which {_KEY} reads rows.")
        stored["0.bias"] = bias
    for home, name in stored.items():
        homes[home].fill(next(tensor for _, tensor in checkpoint.read([name]))[rows].float())
