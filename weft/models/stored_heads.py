"""What a checkpoint's tensors say about the layers behind a model's states, which its config leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from weft.architectures.pooling_spec import ClassifierSpec, DenseNormSpec, DenseSpec, HeadLayerSpec, PoolerSpec
from weft.checkpoint.tensor_info import TensorInfo

# Names in GGUF files. Source: gguf-py/gguf/constants.py of github.com/ggml-org/llama.cpp.
_LAYER, _NORM, _LABELS = "cls", "cls.norm", "cls.output"
_PROJECTIONS = tuple(DenseSpec(names=(name,), out_features=None, bias=None) for name in ("dense_2", "dense_3"))


def gguf_pooler(pooler: PoolerSpec, stored: Mapping[str, TensorInfo]) -> PoolerSpec:
    """The pooler with the layers that a GGUF file has: a classifier's under its names there, and projections."""
    if pooler.classifier is not None:
        return replace(pooler, classifier=_gguf_classifier(pooler.classifier, stored))
    there = tuple(layer for layer in _PROJECTIONS if f"{layer.names[0]}.weight" in stored)
    return replace(pooler, projections=pooler.projections or there)


def _gguf_classifier(classifier: ClassifierSpec, stored: Mapping[str, TensorInfo]) -> ClassifierSpec:
    """Some files have the family's last layer alone, and some have it under the name of the first."""
    *inner, last = classifier.layers
    named = [replace(layer, names=(_NORM if isinstance(layer, DenseNormSpec) else _LAYER,), bias=None)
             for layer in inner if isinstance(layer, DenseSpec | DenseNormSpec)]
    assert isinstance(last, DenseSpec), "a classifier ends with the labels"
    if f"{_LABELS}.weight" not in stored:
        return replace(classifier, layers=(replace(last, names=(_LAYER,), bias=None),))
    there = (layer for layer in named if f"{layer.names[0]}.weight" in stored)
    return replace(classifier, layers=(*there, replace(last, names=(_LABELS,), bias=None)))


def with_sizes(pooler: PoolerSpec, stored: Mapping[str, TensorInfo], default: int) -> PoolerSpec:
    """The pooler whose projections have the sizes of their tensors, or the default where there are none."""
    return replace(pooler, projections=tuple(_with_size(layer, stored, default) for layer in pooler.projections))


def _with_size(layer: HeadLayerSpec, stored: Mapping[str, TensorInfo], default: int) -> HeadLayerSpec:
    if not isinstance(layer, DenseSpec) or layer.out_features is not None:
        return layer
    found = (stored.get(f"{name}.weight") for name in layer.names)
    return replace(layer, out_features=next((info.shape[0] for info in found if info is not None), default))
