"""The poolers that files written for vLLM make and borrow: `DispatchPooler`, `pooler_for_embed`, `CLSPool` and others.

A pooler takes the states of a step's prompts, [T, E], and a PoolingMetadata; it returns a tensor for each prompt. weft
calls it with one prompt at a time (`models/programmed/pooling.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.errors import ConfigError, RequestError
from weft.models.vllm.pooling_metadata import PoolingMetadata
from weft.pooling_params import PoolingParams

PoolerOutput = Any      # a list of tensors, one for each prompt, or one tensor [prompts, …]
Head = Callable[[Tensor], Tensor]


class Pooler(nn.Module, ABC):
    """Base of poolers."""

    @abstractmethod
    def get_supported_tasks(self) -> set[str]:
        """The tasks that `forward` serves."""

    def get_pooling_updates(self, task: str) -> None:
        """Nothing: weft keeps a prompt's token ids for every task."""
        return None

    @abstractmethod
    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> PoolerOutput:
        """hidden_states: [T, E], the prompts one after another. Returns a tensor for each prompt."""

    @staticmethod
    def for_embed(pooler_config: Any, **options: Any) -> Pooler:
        """As `pooler_for_embed`; the older name."""
        return pooler_for_embed(pooler_config, **options)

    @staticmethod
    def for_classify(pooler_config: Any, classifier: Head | None = None, **options: Any) -> Pooler:
        """As `pooler_for_classify`; the older name."""
        return pooler_for_classify(pooler_config, classifier=classifier, **options)

    @staticmethod
    def for_token_embed(pooler_config: Any, **options: Any) -> Pooler:
        """As `pooler_for_token_embed`; the older name."""
        return pooler_for_token_embed(pooler_config, **options)

    for_encode = for_token_embed

    @staticmethod
    def for_token_classify(pooler_config: Any, classifier: Head | None = None, **options: Any) -> Pooler:
        """As `pooler_for_token_classify`; the older name."""
        return pooler_for_token_classify(pooler_config, classifier=classifier, **options)


class PoolingMethod(nn.Module):
    """Which states of a prompt are given. A subclass picks them of one prompt's states [T, E]."""

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        """[E] for a method of sequences, [n, E] for one of tokens; float32."""
        raise NotImplementedError

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> list[Tensor]:
        """Of each prompt."""
        parts = hidden_states.split(pooling_metadata.prompt_lens.tolist())
        return [self.pick(states, ids, params) for states, ids, params in zip(
            parts, pooling_metadata.get_prompt_token_ids(), pooling_metadata.pooling_params, strict=True)]


class CLSPool(PoolingMethod):
    """The first token's state."""

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        return states[0].float()


class LastPool(PoolingMethod):
    """The last token's state."""

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        return states[-1].float()


class MeanPool(PoolingMethod):
    """The mean of all tokens' states."""

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        return states.mean(dim=0, dtype=torch.float32)


class AllPool(PoolingMethod):
    """Each token's state."""

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        return states.float()


class StepPool(PoolingMethod):
    """The states of the tokens that end a step. step_tag_id, returned_token_ids: as of PoolerConfig."""

    def __init__(self, pooler_config: Any = None) -> None:
        super().__init__()
        self.step_tag_id = getattr(pooler_config, "step_tag_id", None)
        self.returned_token_ids = getattr(pooler_config, "returned_token_ids", None)

    def pick(self, states: Tensor, token_ids: Tensor, params: PoolingParams) -> Tensor:
        tag = self.step_tag_id if params.step_tag_id is None else params.step_tag_id
        columns = params.returned_token_ids or self.returned_token_ids
        rows = states.float() if tag is None else states.float()[token_ids == tag]
        return rows[:, list(columns)] if columns else rows


_SEQ = {"CLS": CLSPool, "LAST": LastPool, "MEAN": MeanPool}


def get_seq_pooling_method(pooling_type: str) -> PoolingMethod:
    """CLS, LAST or MEAN."""
    if pooling_type not in _SEQ:
        raise ConfigError("seq_pooling_type", pooling_type, expected=", ".join(_SEQ))
    return _SEQ[pooling_type]()


def get_tok_pooling_method(pooler_config: Any) -> PoolingMethod:
    """ALL or STEP, as a pooler's config says."""
    return StepPool(pooler_config) if getattr(pooler_config, "tok_pooling_type", "ALL") == "STEP" else AllPool()


class TaskPooler(Pooler):
    """A pooling method, then a head, for tasks. head: (rows [n, …], the request's parameters) -> rows."""

    def __init__(self, tasks: Iterable[str], pooling: Callable[..., Any],
                 head: Callable[[Tensor, PoolingParams], Tensor]) -> None:
        super().__init__()
        self.tasks, self.pooling, self.head = set(tasks), pooling, head

    def get_supported_tasks(self) -> set[str]:
        return self.tasks

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> list[Tensor]:
        pooled = self.pooling(hidden_states, pooling_metadata)
        return [self.head(x, params) for x, params in zip(pooled, pooling_metadata.pooling_params, strict=True)]


class DispatchPooler(Pooler):
    """A pooler for each task."""

    def __init__(self, poolers_by_task: Mapping[str, Pooler]) -> None:
        super().__init__()
        for task, pooler in poolers_by_task.items():
            if task not in pooler.get_supported_tasks():
                raise ConfigError("DispatchPooler", task, expected=f"a task of {type(pooler).__name__}: "
                                  f"{', '.join(sorted(pooler.get_supported_tasks()))}")
        self.poolers_by_task = dict(poolers_by_task)

    @classmethod
    def for_embedding(cls, pooler_config: Any) -> DispatchPooler:
        """The tasks embed and token_embed."""
        return cls({"token_embed": pooler_for_token_embed(pooler_config), "embed": pooler_for_embed(pooler_config)})

    @classmethod
    def for_seq_cls(cls, pooler_config: Any, *, pooling: Callable[..., Any] | None = None,
                    classifier: Head | None = None) -> DispatchPooler:
        """The tasks classify and token_classify."""
        return cls({"token_classify": pooler_for_token_classify(pooler_config, classifier=classifier),
                    "classify": pooler_for_classify(pooler_config, pooling=pooling, classifier=classifier)})

    def get_supported_tasks(self) -> set[str]:
        return set(self.poolers_by_task)

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> list[Tensor]:
        """Of prompts of one task. RequestError for a task without a pooler."""
        tasks = set(pooling_metadata.tasks)
        if len(tasks) != 1 or not tasks <= self.poolers_by_task.keys():
            raise RequestError("task", ", ".join(sorted(tasks)), expected=f"one of {', '.join(self.poolers_by_task)}")
        return list(self.poolers_by_task[tasks.pop()](hidden_states, pooling_metadata))


class IdentityPooler(Pooler):
    """The model's output as it is, for the task plugin."""

    def get_supported_tasks(self) -> set[str]:
        return {"plugin", "score"}

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> PoolerOutput:
        return list(hidden_states.split(pooling_metadata.prompt_lens.tolist()))


def pooler_for_embed(pooler_config: Any, pooling: Callable[..., Any] | None = None,
                     projector: Head | None = None) -> Pooler:
    """One vector a prompt: pooled, projected, cut to `dimensions`, scaled to length 1."""
    return TaskPooler({"embed"}, pooling or get_seq_pooling_method(pooler_config.seq_pooling_type),
                      _embedding_head(pooler_config, projector))


def pooler_for_token_embed(pooler_config: Any, projector: Head | None = None) -> Pooler:
    """A vector for each token: projected, cut, scaled."""
    return TaskPooler({"token_embed"}, get_tok_pooling_method(pooler_config),
                      _embedding_head(pooler_config, projector))


def pooler_for_classify(pooler_config: Any, *, pooling: Callable[..., Any] | None = None,
                        classifier: Head | None = None, act_fn: Head | str | None = None) -> Pooler:
    """A number for each label: pooled, classified, calibrated, made a probability."""
    return TaskPooler({"classify"}, pooling or get_seq_pooling_method(pooler_config.seq_pooling_type),
                      _label_head(pooler_config, classifier, act_fn))


def pooler_for_token_classify(pooler_config: Any, *, pooling: Callable[..., Any] | None = None,
                              classifier: Head | None = None, act_fn: Head | str | None = None) -> Pooler:
    """Such numbers for each token."""
    return TaskPooler({"token_classify"}, pooling or get_tok_pooling_method(pooler_config),
                      _label_head(pooler_config, classifier, act_fn))


class ClassifierPooler(TaskPooler):
    """A pooling, a classifier and a function, for the task classify (and token_classify, where asked for)."""

    def __init__(self, pooling: Callable[..., Any], classifier: Head | None, act_fn: Head | str | None = None, *,
                 pooler_config: Any = None, tasks: Sequence[str] = ("classify",)) -> None:
        super().__init__(tasks, pooling, _label_head(pooler_config, classifier, act_fn))
        self.classifier = classifier


def _embedding_head(pooler_config: Any, projector: Head | None) -> Callable[[Tensor, PoolingParams], Tensor]:
    default = getattr(pooler_config, "use_activation", None)

    def head(x: Tensor, params: PoolingParams) -> Tensor:
        x = x if projector is None else projector(x)
        size = getattr(pooler_config, "dimensions", None) if params.dimensions is None else params.dimensions
        x = x if size is None else x[..., :size]
        normalize = default if params.use_activation is None else params.use_activation
        return x if normalize is False else F.normalize(x.float(), dim=-1)

    return head


def _label_head(pooler_config: Any, classifier: Head | None,
                act_fn: Head | str | None) -> Callable[[Tensor, PoolingParams], Tensor]:
    default = getattr(pooler_config, "use_activation", None)
    mean, sigma = (getattr(pooler_config, name, None) for name in ("logit_mean", "logit_sigma"))
    function = act_fn if callable(act_fn) else PoolerClassify()

    def head(x: Tensor, params: PoolingParams) -> Tensor:
        if classifier is not None:
            weight = next(iter(getattr(classifier, "parameters", list)()), None)
            x = classifier(x if weight is None else x.to(weight.dtype))
        x = x.float() if mean is None else x.float() - mean
        x = x if sigma is None else x / sigma
        applies = default if params.use_activation is None else params.use_activation
        return x if applies is False else function(x)

    return head


class PoolerActivation(nn.Module):
    """Base of the functions of logits."""

    def forward(self, pooled_data: Tensor) -> Tensor:
        """[…, labels] -> the same."""
        raise NotImplementedError


class PoolerIdentity(PoolerActivation):
    """Logits as they are."""

    def forward(self, pooled_data: Tensor) -> Tensor:
        return pooled_data


class PoolerNormalize(PoolerActivation):
    """Scaled to length 1."""

    def forward(self, pooled_data: Tensor) -> Tensor:
        return F.normalize(pooled_data.float(), dim=-1)


class PoolerClassify(PoolerActivation):
    """Softmax; sigmoid for a single label."""

    def forward(self, pooled_data: Tensor) -> Tensor:
        x = pooled_data.float()
        return x.sigmoid() if x.shape[-1] < 2 else x.softmax(-1)


class PoolerMultiLabelClassify(PoolerActivation):
    """Sigmoid of each label."""

    def forward(self, pooled_data: Tensor) -> Tensor:
        return pooled_data.float().sigmoid()
