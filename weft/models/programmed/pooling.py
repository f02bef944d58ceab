"""`ProgrammedPooling`: a programmed model that pools, by its own pooler, or weft's behind a model that generates."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weft.architectures.pooling_keys import PoolingKeys
from weft.architectures.pooling_spec import PoolerSpec
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.config.engine_config import EngineConfig
from weft.config.pooler_config import PoolerConfig
from weft.errors import ConfigError, NotBuiltError, RequestError
from weft.layers.context import LayerContext
from weft.layers.layer import allocate
from weft.layers.pooler import Pooler
from weft.models.interfaces_base import (
    get_default_seq_pooling_type,
    get_default_tok_pooling_type,
    get_score_type,
    is_pooling_model,
)
from weft.models.pooler_weights import load_modules
from weft.models.pooling import SEQ_POOLINGS, pooler_spec
from weft.models.programmed.programmed import Programmed
from weft.models.purpose import Purpose
from weft.models.vllm.config_views import PoolerView
from weft.models.vllm.pooling_metadata import PoolingMetadata
from weft.models.vllm.vllm_config import VllmConfig
from weft.ops.step import Step
from weft.pooling_params import TASKS, TOKEN_TASKS, PoolingParams

_TYPES = "token_type_ids"      # an argument of `forward`


class OwnPooler:
    """As ModelPooler: the pooler of a programmed model, which is given one whole prompt at a time.

    pooler: the model's attribute, a module or a method. tasks: what it says that it serves, or `default_tasks`.
    """

    needs_whole_prompt = True

    def __init__(self, model: nn.Module, spec: PoolerSpec, *, width: int, num_labels: int,
                 default_tasks: frozenset[str]) -> None:
        self.spec, self._model = spec, model
        supported = getattr(self._pooler, "get_supported_tasks", None)
        self.tasks = default_tasks if supported is None else frozenset(supported()) & frozenset(TASKS)
        if spec.task is not None:
            self.tasks &= {spec.task}
        labels = self.tasks & {"classify", "token_classify"}
        self.num_labels, self.embedding_size = (num_labels if labels else 0), (0 if labels else width)
        self.num_columns = self.num_labels or self.embedding_size
        self.score_type = self._score_type()

    @property
    def _pooler(self) -> Any:
        """The attribute as it is now: a user may have changed it (apply_model)."""
        return getattr(self._model, "pooler", None)

    def _score_type(self) -> str:
        named = get_score_type(self._model)
        if "classify" in self.tasks:
            return "cross-encoder" if self.num_labels == 1 else ""
        if named == "late-interaction" and "token_embed" in self.tasks:
            return named
        return "bi-encoder" if "embed" in self.tasks else ""

    def __call__(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                 is_last: bool) -> Tensor | None:
        """As `Pooler.forward`. RequestError for a result that is no tensor."""
        metadata = PoolingMetadata.of([list(token_ids)], [params])
        result = self._pooler(states, metadata)
        result = getattr(result, "outputs", result)          # of vLLM before 0.10
        first = result[0] if len(result) == 1 else None
        first = getattr(first, "data", first)
        if not isinstance(first, Tensor):
            raise RequestError("pooler", type(self._model).__qualname__, expected="a tensor for each prompt")
        rows = first.float()
        return rows.unsqueeze(0) if params.task in TOKEN_TASKS and rows.dim() == 1 else rows


class ProgrammedPooling(Programmed):
    """As EngineModel. keys: what the config says about pooling. ConfigError for a class without a pooler."""

    def __init__(self, cls: type[nn.Module], config: EngineConfig, checkpoint: Checkpoint | None,
                 context: LayerContext, keys: PoolingKeys, purpose: Purpose) -> None:
        self._has_own = is_pooling_model(cls)
        if not self._has_own and purpose.convert == "classify":
            raise NotBuiltError("convert", "classify", expected="embed for a programmed model that generates",
                                hint="Give the class a pooler of its own (is_pooling_model, pooler).")
        default = get_default_seq_pooling_type(cls)
        if default not in SEQ_POOLINGS:
            raise ConfigError("model_class.default_seq_pooling_type", default, expected=", ".join(SEQ_POOLINGS))
        self._spec = pooler_spec(keys, config.model, default=SEQ_POOLINGS[default])
        self._seen = _pooler_view(config, self._spec, get_default_tok_pooling_type(cls))
        super().__init__(cls, config, checkpoint, context)
        width = self._vllm_config.model_config.get_hidden_size()
        labels = getattr(self._vllm_config.model_config.hf_config, "num_labels", 0)
        takes_types = _TYPES in inspect.signature(cls.forward).parameters
        self.num_token_types = _type_rows(self._vllm_config.model_config.hf_config) if takes_types else 0
        default_tasks = frozenset({"classify"} if purpose.convert == "classify" else {"embed", "token_embed"})
        self.pooler = Pooler(self._spec, width) if not self._has_own else OwnPooler(
            self.module, self._spec, width=width, num_labels=labels, default_tasks=default_tasks)
        self.tasks = self.pooler.tasks
        if not self.tasks:
            raise ConfigError("model_class.pooler", self.name, expected=f"a pooler for one of {', '.join(TASKS)}")

    def _view(self, config: EngineConfig) -> VllmConfig:
        """As Programmed, with the pooler's settings."""
        view = super()._view(config)
        view.model_config.pooler_config, view.model_config.runner_type = self._seen, "pooling"
        return view

    def _of_step(self, step: Step) -> dict[str, Tensor]:
        """As Programmed; with token types, if the class takes them."""
        types = {} if step.token_types is None else {_TYPES: step.token_types}
        return super()._of_step(step) | types

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel, and the layers in folders of their own."""
        report = super().load(max_model_len=max_model_len, use_tqdm=use_tqdm)
        if isinstance(self.pooler, Pooler):
            allocate(self.pooler, self._context.device)
            assert self._checkpoint is not None
            load_modules(self.pooler, self._checkpoint.path, is_dummy=self._checkpoint.is_dummy)
        return report

    def try_step(self, step: Step) -> None:
        """As EngineModel: a first forward pass, and each task of the pooler."""
        looked_up = self._tried("embed_input_ids", lambda: self._embeds(step.input_ids))
        assert len(looked_up) == len(step.input_ids)
        hidden = self._tried("forward", lambda: self.forward(step))
        for task in sorted(self.tasks):
            self._tried("pooler", lambda task=task: self._tried_task(hidden, step, task))

    def _tried_task(self, hidden: Tensor, step: Step, task: str) -> Tensor:
        assert self.pooler is not None
        try:
            found = self.pooler(hidden, PoolingParams(task=task), token_ids=step.input_ids.tolist(), is_last=True)
        except RequestError as error:
            raise ConfigError(f"model_class.pooler ({task})", self.name, expected=error.expected) from error
        return torch.zeros(0) if found is None else found

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """Never called: the task "generate", which needs logits, is none of a pooling model's."""
        raise AssertionError("a pooling model has no head for tokens")


def _type_rows(hf_config: Any) -> int:
    """Rows of the table of token types, as a config says."""
    return getattr(hf_config, "type_vocab_size", 0) or 0


def _pooler_view(config: EngineConfig, spec: PoolerSpec, tok_pooling: str) -> PoolerView:
    """The settings of a pooler as the constructor of a class reads them."""
    given = config.model.pooler_config or PoolerConfig()
    return PoolerView(
        task=spec.task, seq_pooling_type=spec.pooling[0].upper(), use_activation=spec.uses_act,
        tok_pooling_type=given.tok_pooling or ("STEP" if spec.token_pooling == "step" else tok_pooling),
        dimensions=spec.default_dimensions, logit_mean=spec.logit_mean, logit_sigma=spec.logit_sigma,
        step_tag_id=spec.step_tag_id, returned_token_ids=list(spec.returned_labels) or None)
