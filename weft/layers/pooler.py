"""`Pooler`: from a prompt's final states to what was asked for: a vector, its tokens' states, or logits of labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.pooling_spec import HeadLayerSpec, LabelTokensSpec, PoolerSpec
from weft.errors import ConfigError
from weft.layers.head_layers import HeadLayers, head_function
from weft.layers.layer import Layer
from weft.pooling_params import TOKEN_TASKS, PoolingParams

_WIDE_ROWS = 128      # tokens whose rows of a vocabulary are held at once


class Pooler(Layer):
    """The pooling of one model.

    hidden_size: E, width of the states. has_bias: whether the checkpoint has a bias for a layer whose spec leaves that
    open.
    tasks: those of PoolingParams that it serves. embedding_size: numbers of a vector; 0: it gives none. num_columns:
    numbers in the row of one token. ConfigError for settings that ask for more numbers than these.
    """

    def __init__(self, spec: PoolerSpec, hidden_size: int,
                 has_bias: Callable[[HeadLayerSpec], bool] = lambda spec: False) -> None:
        super().__init__()
        self.spec = spec
        self.tasks = tasks_of(spec)
        self.token_layers = HeadLayers(spec.token_layers, hidden_size, 0, has_bias)
        width = self.token_layers.out_features
        width *= 1 if spec.classifier is not None or spec.late_interaction else len(spec.pooling)
        self.projections = HeadLayers(spec.projections, width, 0, has_bias)
        self._projects_tokens = bool(spec.projections) and width == hidden_size
        self.embedding_size = self.projections.out_features if spec.classifier is None else 0
        self.classifier, self._act = None, head_function(spec.act)
        self._pools_logits = spec.classifier is not None and spec.classifier.pools_logits
        if spec.classifier is not None:
            self.classifier = HeadLayers(spec.classifier.layers, hidden_size, spec.num_labels, has_bias)
        of_tokens = self.projections.out_features if self._projects_tokens else hidden_size
        self.num_columns = of_tokens if spec.classifier is None else spec.num_labels
        _check_sizes(spec, self.embedding_size, self.num_columns)

    @property
    def needs_whole_prompt(self) -> bool:
        """Whether a result needs states of several places, so that one step must compute the whole prompt."""
        of_prompt = self.spec.pooling != ("last",) and not self.tasks <= {*TOKEN_TASKS}
        return of_prompt or self.spec.token_pooling == "step"

    @property
    def score_type(self) -> str:
        """How two texts are compared: by their vectors, or read together by a classifier of one label."""
        if self.classifier is None:
            return "late-interaction" if self.spec.late_interaction else "bi-encoder"
        return "cross-encoder" if "classify" in self.tasks and self.num_labels == 1 else ""

    @property
    def num_labels(self) -> int:
        """Of the classifier; 0: it has none."""
        return self.spec.num_labels

    def forward(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                is_last: bool) -> Tensor | None:
        """What the states [T, E] of a prompt's part give: of a whole prompt, unless the prompt is computed in chunks.

        token_ids: the prompt's. is_last: the part ends the prompt. Tasks of one result give None before that; tasks of
        tokens give a row for each token of the part that is asked for.
        Float32 [E] for "embed", [T, E] for "token_embed", [num_labels] for "classify", [T, num_labels] for
        "token_classify".
        """
        of_tokens = params.task in TOKEN_TASKS
        if not of_tokens and not is_last:
            return None
        if self.classifier is None:
            rows = self._tokens(states, params, token_ids) if of_tokens else self._prompt(self._kept(states, token_ids))
            rows = self._embed(rows, params, of_tokens=of_tokens)
        elif of_tokens:
            rows = self._labels(self.classifier(self._tokens(states, params, token_ids)), params)
        elif self._pools_logits:
            rows = self._labels(self._prompt(self.classifier(states.float())), params)
        else:
            rows = self._labels(self.classifier(self._prompt(states)), params)
        return rows if of_tokens else rows[0]

    def _prompt(self, states: Tensor) -> Tensor:
        """[T, E] -> [1, the poolings' results one behind the other] float32."""
        if self.spec.token_layers:
            return self._token_weights(states)
        return torch.cat([_POOLINGS[kind](states) for kind in self.spec.pooling]).unsqueeze(0)

    def _token_weights(self, states: Tensor) -> Tensor:
        """[T, E] -> [1, out_features] of the layers of each token, a few tokens at a time: their rows are wide."""
        if not len(states):
            return torch.zeros(1, self.token_layers.out_features)
        pool = _POOLINGS[self.spec.pooling[0]]
        parts = [pool(self.token_layers(part.float())) for part in states.split(_WIDE_ROWS)]
        return pool(torch.stack(parts)).unsqueeze(0)

    def _kept(self, states: Tensor, token_ids: Sequence[int]) -> Tensor:
        """A prompt's states [T, E] without those of the first and the last token that the spec leaves out."""
        first, last = self.spec.skips
        start = int(first is not None and token_ids[0] == first)
        end = len(states) - int(last is not None and token_ids[len(states) - 1] == last)
        return states[start : max(start, end)]

    def _tokens(self, states: Tensor, params: PoolingParams, token_ids: Sequence[int]) -> Tensor:
        """The rows of the tokens that are asked for, float32."""
        rows, tag = states.float(), params.step_tag_id
        tag = self.spec.step_tag_id if tag is None else tag
        if self.spec.token_pooling == "all" or tag is None:
            return self._kept(rows, token_ids)
        return rows[torch.tensor(token_ids[: len(rows)]) == tag]

    def _embed(self, rows: Tensor, params: PoolingParams, *, of_tokens: bool) -> Tensor:
        if self._projects_tokens or not of_tokens:
            rows = self.projections(rows)
        rows = self._columns(rows, params, of_tokens=of_tokens)
        size = self.spec.default_dimensions if params.dimensions is None else params.dimensions
        rows = rows if size is None else rows[:, :size]
        normalize = self.spec.uses_act if params.use_activation is None else params.use_activation
        if normalize is None:
            normalize = self.spec.normalize and (not of_tokens or self.spec.late_interaction)
        return F.normalize(rows, dim=-1) if normalize else rows

    def _labels(self, logits: Tensor, params: PoolingParams) -> Tensor:
        if self.spec.label_tokens is not None:
            logits = _of_tokens(logits, self.spec.label_tokens)
        logits = self._columns(logits, params, of_tokens=params.task in TOKEN_TASKS)
        if self.spec.logit_mean is not None:
            logits = logits - self.spec.logit_mean
        if self.spec.logit_sigma is not None:
            logits = logits / self.spec.logit_sigma
        applies = self.spec.uses_act if params.use_activation is None else params.use_activation
        return logits if applies is False else self._act(logits)

    def _columns(self, rows: Tensor, params: PoolingParams, *, of_tokens: bool) -> Tensor:
        """The columns that are asked for of a token's row."""
        columns = self.spec.returned_labels if params.returned_token_ids is None else params.returned_token_ids
        return rows[:, list(columns)] if columns and of_tokens else rows


def _check_sizes(spec: PoolerSpec, embedding_size: int, num_columns: int) -> None:
    size, columns = spec.default_dimensions, list(spec.returned_labels)
    if size is not None and size > embedding_size:
        raise ConfigError("pooler_config.dimensions", size, expected=f"1 to {embedding_size}, the size of the vectors"
                          if embedding_size else "None for a model without vectors")
    if columns and max(columns) >= num_columns:
        raise ConfigError("pooler_config.returned_token_ids", columns, expected=f"columns from 0 to {num_columns - 1}")


def tasks_of(spec: PoolerSpec) -> frozenset[str]:
    """The tasks that a pooler serves."""
    head = spec.classifier
    if head is None:
        tasks = {"token_embed"} if spec.late_interaction else {"embed", "token_embed"}
    elif head.pooling is None:
        tasks = {"token_classify"}
    else:
        tasks = {"classify", "token_classify"} if head.of_tokens else {"classify"}
    return frozenset(tasks if spec.task is None else tasks & {spec.task})


def _of_tokens(logits: Tensor, labels: LabelTokensSpec) -> Tensor:
    """[N, tokens] -> [N, labels]: what the head for tokens does behind its matrix, and what the labels are of that."""
    logits = logits * labels.scale
    if labels.softcap is not None:
        logits = labels.softcap * (logits / labels.softcap).tanh()
    return logits[:, 1:] - logits[:, :1] if labels.reads_difference else logits


def _weighted_mean(states: Tensor) -> Tensor:
    weights = torch.arange(1, len(states) + 1, dtype=torch.float32)
    return weights @ states.float() / weights.sum()


_POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {      # [T, E] -> [E] float32
    "cls": lambda states: states[0].float(),
    "last": lambda states: states[-1].float(),
    "mean": lambda states: states.mean(dim=0, dtype=torch.float32),
    "max": lambda states: states.amax(dim=0).float(),
    "sum": lambda states: states.sum(dim=0, dtype=torch.float32),
    "mean_sqrt_len": lambda states: states.sum(dim=0, dtype=torch.float32) / len(states) ** 0.5,
    "weighted_mean": _weighted_mean,
}
