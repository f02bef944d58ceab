"""`pooler_spec`: how a model pools: what its description, its config, its files and the user say, the last first."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weft.architectures.pooling_keys import PoolingKeys
from weft.architectures.pooling_spec import (
    ClassifierSpec,
    DenseSpec,
    HeadLayerSpec,
    PoolerSpec,
    SeqPooling,
    TokenPooling,
)
from weft.config.engine_config import ModelConfig
from weft.config.pooler_config import PoolerConfig, read_pooler_config
from weft.errors import ConfigError, NotBuiltError
from weft.layers.pooler import tasks_of
from weft.resolve.hf.pooling import read_pooling
from weft.resolve.hf.prompts import default_prompt

logger = logging.getLogger("weft")

SEQ_POOLINGS: dict[str, SeqPooling] = {"CLS": "cls", "LAST": "last", "MEAN": "mean"}
_TOK: dict[str, TokenPooling] = {"ALL": "all", "STEP": "step"}


def pooler_spec(keys: PoolingKeys, model: ModelConfig, *, default: SeqPooling | None,
                classifier: ClassifierSpec | None = None, lm_head: tuple[HeadLayerSpec, ...] = ()) -> PoolerSpec:
    """The pooling of a model. default: of a prompt's states, where nothing else says it; None: then `pooling` is ().

    classifier: the model's. lm_head: as of EncoderSpec.

    ConfigError for settings that do not fit the model or each other.
    """
    given = _settings(keys, model)
    spec = _vectors(keys, model, default, lm_head) if classifier is None else _labels(keys, classifier)
    spec = _with_settings(spec, given)
    if given.task is not None and given.task not in tasks_of(spec):
        raise _no_task(given.task, tasks_of(spec))
    return replace(spec, task=given.task)


def task_poolers(own: Sequence[PoolerSpec], keys: PoolingKeys, model: ModelConfig) -> tuple[PoolerSpec, ...]:
    """The poolers of a model that has one for each task. ConfigError as of `pooler_spec`."""
    given, (first, *others) = _settings(keys, model), own
    shared = replace(first, is_matryoshka=keys.is_matryoshka, dimensions=keys.dimensions)
    poolers = (_with_settings(shared, given), *(replace(one, uses_act=given.use_activation) for one in others))
    if given.task is None:
        return poolers
    kept = tuple(one for one in poolers if one.task == given.task)
    if not kept:
        raise _no_task(given.task, {str(one.task) for one in poolers})
    return kept


def _settings(keys: PoolingKeys, model: ModelConfig) -> PoolerConfig:
    """The user's settings over those in the config."""
    return (model.pooler_config or PoolerConfig()).over(_plain(keys.settings, model))


def _no_task(task: str, tasks: Collection[str]) -> ConfigError:
    return ConfigError("pooler_config.task", task, expected=f"one of {', '.join(sorted(tasks))}, the model's tasks")


def _with_settings(spec: PoolerSpec, given: PoolerConfig) -> PoolerSpec:
    pooling = spec.pooling if given.seq_pooling is None else (SEQ_POOLINGS[given.seq_pooling],)
    if (spec.late_interaction or spec.token_layers) and given.seq_pooling is not None:
        raise ConfigError("pooler_config.seq_pooling_type", given.seq_pooling,
                          expected=f"None for {'late interaction' if spec.late_interaction else 'SPLADE'}")
    spec = replace(
        spec, pooling=pooling, uses_act=given.use_activation, default_dimensions=given.dimensions,
        token_pooling=spec.token_pooling if given.tok_pooling is None else _TOK[given.tok_pooling],
        step_tag_id=given.step_tag_id,
        returned_labels=given.returned_token_ids or (), logit_mean=given.logit_mean, logit_sigma=given.logit_sigma)
    for name in ("logit_mean", "logit_sigma") if spec.classifier is None else ():
        if getattr(given, name) is not None:
            raise ConfigError(f"pooler_config.{name}", getattr(given, name), expected="None for a model without logits")
    if spec.token_pooling != "step" and spec.step_tag_id is not None:
        raise ConfigError("pooler_config.step_tag_id", spec.step_tag_id, expected="None without the pooling STEP",
                          hint='Add "tok_pooling_type": "STEP".')
    if spec.token_pooling == "step" and spec.step_tag_id is None:
        raise ConfigError("pooler_config.step_tag_id", None, expected="the token that ends a step, for STEP")
    return spec


def _plain(settings: Mapping[str, Any], model: ModelConfig) -> dict[str, Any]:
    """{field: value} of the settings in a config, checked as PoolerConfig does."""
    read = read_pooler_config(settings, f"pooler_config of {model.config_source}")
    assert read is not None
    return {name: value for name in read.__struct_fields__
            if (value := getattr(read, name)) != getattr(PoolerConfig(), name)}


def _vectors(keys: PoolingKeys, model: ModelConfig, default: SeqPooling | None,
             lm_head: tuple[HeadLayerSpec, ...]) -> PoolerSpec:
    files = read_pooling(Path(model.path))
    if prompt := default_prompt(Path(model.path)):
        logger.warning("default_prompt_name: sentence-transformers puts %r before each text; weft embeds texts as they "
                       "are, so write it into them.", prompt)
    shared: dict[str, Any] = {"is_matryoshka": keys.is_matryoshka, "dimensions": keys.dimensions}
    if files is None:
        return PoolerSpec(pooling=(default,) if default else (), **shared)
    if files.token_act is not None:
        if not lm_head:
            raise NotBuiltError("modules", "SpladePooling", expected="a Pooling with this architecture",
                                hint=f"weft does not know the head for masked tokens of {model.architecture}.")
        shared["token_layers"] = (*lm_head[:-1], replace(lm_head[-1], act=files.token_act))
    late = not files.pooling
    return PoolerSpec(pooling=files.pooling or ("last",), projections=files.projections, late_interaction=late,
                      normalize=files.normalize or late, **shared)


def _labels(keys: PoolingKeys, classifier: ClassifierSpec) -> PoolerSpec:
    assert keys.labels is not None, "a classifier's config has been read with its labels"
    width = next((layer.out_features for layer in reversed(classifier.layers) if isinstance(layer, DenseSpec)), None)
    count = width or keys.labels.num_labels                      # a head may have a size of its own (reward models)
    act = "sigmoid" if keys.labels.act == "softmax" and count < 2 else keys.labels.act
    return PoolerSpec(pooling=(classifier.pooling or "last",), classifier=classifier, num_labels=count, act=act,
                      token_pooling=classifier.token_pooling)
