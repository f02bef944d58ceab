"""`pooler_spec`: how a built model pools, of what its description, its config, its files and the user say."""

from __future__ import annotations

from pathlib import Path

from weft.architectures.classifiers import classifier_of, read_labels
from weft.architectures.pooling_spec import PoolerSpec
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import EncoderSpec, ModelSpec
from weft.config.engine_config import ModelConfig
from weft.models.purpose import Purpose
from weft.resolve.hf.pooling import read_pooling


def pooler_spec(spec: ModelSpec, reader: ConfigReader, model: ModelConfig, purpose: Purpose,
                architecture: str) -> PoolerSpec:
    """The pooling of a described model.

    ConfigError for a family without such a classifier, and for a function of its logits that is none of torch.nn.
    """
    if purpose.convert != "classify":
        default = spec.default_pooling if isinstance(spec, EncoderSpec) else "last"
        return read_pooling(Path(model.path)) or PoolerSpec(pooling=default)
    head = classifier_of(spec, of_tokens=purpose.of_tokens, architecture=architecture, source=model.config_source)
    labels = read_labels(reader)
    return PoolerSpec(pooling=head.pooling or "last", classifier=head, num_labels=labels.num_labels, act=labels.act)
