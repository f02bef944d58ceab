"""A model that generates, read as a classifier: each label is a token, its row that of the head for tokens.

So rerankers answer that were trained to say yes or no (config key `classifier_from_token`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from weft.architectures.names import NameMap
from weft.checkpoint.loader import EMBEDDING, HEAD, filling
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


@torch.no_grad()
def fill_from_head(pooler: Pooler, checkpoint: Checkpoint, names: NameMap) -> None:
    """Fill the classifier's one layer with rows of the head for tokens, or of the table that it shares."""
    assert pooler.classifier is not None, "only a classifier has labels"
    rows = list(pooler.spec.label_tokens)
    router = Router(names)
    name = filling(checkpoint, router, HEAD) or filling(checkpoint, router, EMBEDDING)
    if name is None:
        raise CheckpointError(f"{checkpoint.path}: no tensor for the head, of which {_KEY} reads rows.")
    head = next(tensor for _, tensor in checkpoint.read([name]))[rows].float()
    if pooler.spec.reads_difference:
        head = head[1:] - head[:1]
    pooler.classifier.homes()["0.weight"].fill(head.clone())
