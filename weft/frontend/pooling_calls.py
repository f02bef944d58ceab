"""`PoolingCalls`: the methods of `LLM` that ask a pooling model for vectors, classes, rewards and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.config.engine_config import EngineConfig
from weft.errors import RequestError
from weft.frontend.llm_engine import LLMEngine, refuse_unbuilt
from weft.frontend.pooled import as_classification, as_embedding
from weft.frontend.prompts import split_prompts
from weft.frontend.scores import pair_prompt, plan_scores, score_params
from weft.outputs import (
    ClassificationRequestOutput,
    EmbeddingRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    ScoringRequestOutput,
)
from weft.pooling_params import PoolingParams
from weft.text.chat import Renderer


class PoolingCalls(ABC):
    """The base of `LLM` with these methods. Names and arguments are vLLM's."""

    config: EngineConfig
    _engine: LLMEngine
    _renderer: Renderer | None

    @abstractmethod
    def _pool(self, prompts: Sequence[Any], params: Any, task: str | None, use_tqdm: bool | Callable[..., Any],
              tokenization_kwargs: Mapping[str, Any] | None) -> list[PoolingRequestOutput[PoolingOutput]]:
        """The outputs of prompts, in order."""

    def encode(self, prompts: Any, pooling_params: PoolingParams | Sequence[PoolingParams] | None = None, *,
               use_tqdm: bool | Callable[..., Any] = True, lora_request: None = None, pooling_task: str | None = None,
               tokenization_kwargs: Mapping[str, Any] | None = None) -> list[PoolingRequestOutput[PoolingOutput]]:
        """The output of a pooling model for each prompt, in order: `outputs.data`, a float32 tensor.

        pooling_task: one of the model's tasks, as `PoolingParams.task`; None: the first of token_embed, token_classify,
            embed and classify that it has.
        A wrong prompt, or a task that the model does not support, raises RequestError before anything runs. A prompt
        that fails in the engine has outputs None and an `error`; the others go on.
        """
        refuse_unbuilt(lora_request=lora_request)
        return self._pool(split_prompts(prompts), pooling_params, pooling_task, use_tqdm, tokenization_kwargs)

    def embed(self, prompts: Any, *, use_tqdm: bool | Callable[..., Any] = True,
              pooling_params: PoolingParams | Sequence[PoolingParams] | None = None, lora_request: None = None,
              tokenization_kwargs: Mapping[str, Any] | None = None) -> list[EmbeddingRequestOutput]:
        """One vector for each prompt, in order: `outputs.embedding`, a list of E numbers. Errors as in `encode`."""
        refuse_unbuilt(lora_request=lora_request)
        outputs = self._pool(split_prompts(prompts), pooling_params, "embed", use_tqdm, tokenization_kwargs)
        return [as_embedding(output) for output in outputs]

    def classify(self, prompts: Any, *, use_tqdm: bool | Callable[..., Any] = True,
                 pooling_params: PoolingParams | Sequence[PoolingParams] | None = None, lora_request: None = None,
                 tokenization_kwargs: Mapping[str, Any] | None = None) -> list[ClassificationRequestOutput]:
        """A number for each label, for each prompt, in order: `outputs.probs`. Errors as in `encode`."""
        refuse_unbuilt(lora_request=lora_request)
        outputs = self._pool(split_prompts(prompts), pooling_params, "classify", use_tqdm, tokenization_kwargs)
        return [as_classification(output) for output in outputs]

    def reward(self, prompts: Any, /, *, use_tqdm: bool | Callable[..., Any] = True,
               pooling_params: PoolingParams | Sequence[PoolingParams] | None = None, lora_request: None = None,
               tokenization_kwargs: Mapping[str, Any] | None = None) -> list[PoolingRequestOutput[PoolingOutput]]:
        """The rewards of each prompt's tokens, or of its steps: `encode` with the task token_classify."""
        return self.encode(prompts, pooling_params, use_tqdm=use_tqdm, lora_request=lora_request,
                           pooling_task="token_classify", tokenization_kwargs=tokenization_kwargs)

    def score(self, data_1: str | Sequence[str], data_2: str | Sequence[str], /, *,
              use_tqdm: bool | Callable[..., Any] = True,
              pooling_params: PoolingParams | None = None, lora_request: None = None,
              tokenization_kwargs: Mapping[str, Any] | None = None,
              chat_template: str | None = None) -> list[ScoringRequestOutput]:
        """How well two texts fit, `outputs.score`: of one pair, one text with each of several, or two lists' pairs.

        chat_template: the form of a pair, of messages with the roles query and document; None: that of the option
        `chat_template`, else the tokenizer's.
        A model that embeds gives the cosine of two vectors, a classifier with one label reads both texts as one prompt.
        RequestError for lists of other lengths; other errors as in `encode`.
        """
        refuse_unbuilt(lora_request=lora_request)
        renderer = self._renderer
        if chat_template is not None and renderer is None:
            raise RequestError("chat_template", chat_template, expected="None without a tokenizer")
        info, of_engine = self._engine.client.info, self.config.tokenizer.chat_template
        has_own = of_engine is not None and info.pooling.score_type == "cross-encoder"
        template = None if renderer is None or (chat_template is None and not has_own) else (
            lambda first, second: pair_prompt(renderer, chat_template, first, second))
        plan = plan_scores(data_1, data_2, info, template)
        params = score_params(pooling_params, plan)
        return plan.scores(self._pool(plan.prompts, params, plan.task, use_tqdm, tokenization_kwargs))
