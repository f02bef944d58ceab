"""`Pooler`: from a prompt's final states to what was asked for: a vector, its tokens' states, or logits of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.pooling_spec import HeadLayerSpec, PoolerSpec
from weft.layers.head_layers import HeadLayers, head_function
from weft.layers.layer import Layer
from weft.pooling_params import TOKEN_TASKS, PoolingParams


class Pooler(Layer):
    """The pooling of one model.

    hidden_size: E, width of the states. has_bias: whether the checkpoint has a bias for a layer whose spec leaves that
    open.
    tasks: those of PoolingParams that it serves. embedding_size: numbers of a vector; 0: it gives none.
    """

    def __init__(self, spec: PoolerSpec, hidden_size: int,
                 has_bias: Callable[[HeadLayerSpec], bool] = lambda spec: False) -> None:
        super().__init__()
        self.spec = spec
        self._pool = {"cls": _first, "last": _last, "mean": _mean}[spec.pooling]
        self.tasks = tasks_of(spec)
        self.embedding_size = hidden_size if spec.classifier is None else 0
        self.classifier, self._act = None, head_function(spec.act)
        self._pools_logits = spec.classifier is not None and spec.classifier.pools_logits
        if spec.classifier is not None:
            self.classifier = HeadLayers(spec.classifier.layers, hidden_size, spec.num_labels, has_bias)

    @property
    def needs_whole_prompt(self) -> bool:
        """Whether a prompt's vector needs states of several places, so that one step must compute the whole prompt."""
        return self.spec.pooling != "last"

    @property
    def score_type(self) -> str:
        """How two texts are compared: by their vectors, or read together by a classifier of one label."""
        if self.classifier is None:
            return "bi-encoder"
        return "cross-encoder" if "classify" in self.tasks and self.num_labels == 1 else ""

    @property
    def num_labels(self) -> int:
        """Of the classifier; 0: it has none."""
        return self.spec.num_labels

    def forward(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                is_last: bool) -> Tensor | None:
        """What the states [T, E] of a prompt's part give: of a whole prompt, unless the prompt is computed in chunks.

        token_ids: the prompt's. is_last: the part ends the prompt. Tasks of one result give None before that; tasks of
        tokens give a row for each token of the part.
        Float32 [E] for "embed", [T, E] for "token_embed", [num_labels] for "classify", [T, num_labels] for
        "token_classify".
        """
        of_tokens = params.task in TOKEN_TASKS
        if not of_tokens and not is_last:
            return None
        if self.classifier is not None and self._pools_logits and not of_tokens:
            return self._activated(self._pool(self.classifier(states.float())), params.use_activation)
        x = states.float() if of_tokens else self._pool(states)
        if self.classifier is not None:
            return self._classify(x, params.use_activation)
        normalize = params.use_activation
        if normalize is None:
            normalize = self.spec.normalize and not of_tokens
        return F.normalize(x, dim=-1) if normalize else x

    def _classify(self, x: Tensor, use_activation: bool | None) -> Tensor:
        assert self.classifier is not None
        logits = self.classifier(x.unsqueeze(0) if x.dim() == 1 else x)
        return self._activated(logits[0] if x.dim() == 1 else logits, use_activation)

    def _activated(self, logits: Tensor, use_activation: bool | None) -> Tensor:
        applies = self.spec.uses_act if use_activation is None else use_activation
        return self._act(logits) if applies else logits


def tasks_of(spec: PoolerSpec) -> frozenset[str]:
    """The tasks that a pooler serves."""
    head = spec.classifier
    if head is None:
        return frozenset({"embed", "token_embed"})
    if head.pooling is None:
        return frozenset({"token_classify"})
    return frozenset({"classify", "token_classify"} if head.of_tokens else {"classify"})


def _first(states: Tensor) -> Tensor:
    return states[0].float()


def _last(states: Tensor) -> Tensor:
    return states[-1].float()


def _mean(states: Tensor) -> Tensor:
    return states.mean(dim=0, dtype=torch.float32)
