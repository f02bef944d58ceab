"""Reward models: a decoder with a head that scores a text, each of its tokens, or each of its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from weft.architectures import keys
from weft.architectures.internlm2 import internlm2
from weft.architectures.pooling_spec import ClassifierSpec, DenseSpec, HeadLayerSpec
from weft.architectures.qwen2 import qwen2
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, ModelSpec


@architecture("Qwen2ForRewardModel")
def qwen2_reward(c: ConfigReader) -> DecoderSpec:
    """Qwen 2.5, a reward for a text. Source: arXiv:2409.12122; config.json of Qwen/Qwen2.5-Math-RM-72B."""
    head = ClassifierSpec(layers=_two_layers(c, 1), pooling="last", of_tokens=True)
    return _with(qwen2(c), sequence_classifier=head, pools_as="sequence")


@architecture("Qwen2ForProcessRewardModel")
def qwen2_process_reward(c: ConfigReader) -> DecoderSpec:
    """Qwen 2.5, a reward for each step. Source: arXiv:2501.07301; config.json of Qwen/Qwen2.5-Math-PRM-7B."""
    head = ClassifierSpec(layers=_two_layers(c, 2), pooling=None, token_pooling="step")
    return _with(qwen2(c), token_classifier=head, pools_as="token")


@architecture("InternLM2ForRewardModel")
def internlm2_reward(c: ConfigReader) -> DecoderSpec:
    """InternLM 2, a reward for a text. Source: arXiv:2403.17297; config.json of internlm/internlm2-7b-reward."""
    c.harmless("reward_token_id")                            # the token that a prompt ends with: it is pooled anyway
    head = ClassifierSpec(layers=(DenseSpec(names=("v_head",), out_features=1, bias=False),), pooling="last",
                          of_tokens=True)
    return _with(internlm2(c), sequence_classifier=head, pools_as="sequence")


def _with(spec: ModelSpec, **changes: Any) -> DecoderSpec:
    """A decoder's description with other heads."""
    assert isinstance(spec, DecoderSpec), "reward models are decoders"
    return replace(spec, **changes)


def _two_layers(c: ConfigReader, num_labels: int) -> tuple[HeadLayerSpec, ...]:
    return (DenseSpec(names=("score.0",), out_features=keys.hidden_size(c), act="relu"),
            DenseSpec(names=("score.2",), out_features=num_labels))
