"""Compares a class with the interfaces it must have, or says it has: members that are missing, and other signatures.

The expected signatures are those of the protocols. The engine gives a parameter without a default by place and any
other by name; a class is checked by binding that call to its methods.
"""

from __future__ import annotations

import inspect
import logging
import sys
from dataclasses import dataclass
from typing import Any

from weft.errors import ConfigError
from weft.extend.model_api import check_model_api
from weft.models import interfaces
from weft.models.interfaces_base import (
    EncoderDecoderModel,
    PoolingModel,
    TextGenerationModel,
    has_encoder,
    has_member,
    is_pooling_model,
)

logger = logging.getLogger("weft")
_GENERATING = ("__init__", "embed_input_ids", "forward", "compute_logits", "load_weights")
_POOLING = ("__init__", "embed_input_ids", "forward", "load_weights")


@dataclass(frozen=True, slots=True)
class Ability:
    """An interface that a class claims by a flag. needs: the members that the class must bring itself."""

    protocol: type
    flag: str
    needs: tuple[str, ...]


ABILITIES = (
    Ability(PoolingModel, "is_pooling_model", ("pooler",)),
    Ability(interfaces.SupportsPP, "supports_pp", ("make_empty_intermediate_tensors",)),
    Ability(interfaces.SupportsMultiModal, "supports_multimodal",
            ("get_placeholder_str", "embed_multimodal")),
    Ability(interfaces.IsHybrid, "is_hybrid", ("get_mamba_state_shape_from_config",)),
    Ability(interfaces.SupportsTranscription, "supports_transcription",
            ("supported_languages", "get_generation_prompt", "get_speech_to_text_config")),
    Ability(interfaces.SupportsRealtime, "supports_realtime", ("buffer_realtime_audio",)),
    Ability(interfaces.SupportsEagle3, "supports_eagle3", ("set_aux_hidden_state_layers",)),
    Ability(interfaces.SupportsMRoPE, "supports_mrope", ("get_mrope_input_positions",)),
    Ability(interfaces.SupportsScoreTemplate, "supports_score_template", ("get_score_template",)),
)


def check_class(cls: Any, *, field: str = "model_class") -> type:
    """The class, if a model can be made and driven by it; abilities that it claims and lacks are warned of.

    A class with the interface of an older vLLM is bridged: the result is a subclass with the engine's interface.

    ConfigError names `field`, the method and the expected signature, or the version of the interface that it asks for.
    """
    name = getattr(cls, "__qualname__", repr(cls))
    if not is_torch_module(cls):
        raise ConfigError(field, name, expected="a class that is a torch.nn.Module")
    from weft.models.vllm.generations import adapted  # here, because it imports torch, which this module does not

    check_model_api(cls, name)
    cls = adapted(cls)
    generating = EncoderDecoderModel if has_encoder(cls) else TextGenerationModel
    protocol, needs = (PoolingModel, _POOLING) if is_pooling_model(cls) else (generating, _GENERATING)
    for method in needs:
        if not _has_own(cls, method) or not callable(getattr(cls, method)):
            raise ConfigError(field, name, expected=f"a method {signature_words(protocol, method)}",
                              hint="docs/adding-a-model.md has a complete example.")
        fault = _fault(cls, protocol, method)
        if fault is not None:
            raise ConfigError(f"{field}.{method}", f"{name}.{method}{fault.found}",
                              expected=signature_words(protocol, method), hint=f"The engine's call fails: {fault.why}.")
    for text in claims_without_members(cls):
        logger.warning("%s", text)
    return cls


def claims_without_members(cls: type) -> list[str]:
    """A sentence for each flag of the class whose members are missing or have another signature."""
    texts = []
    for ability in ABILITIES:
        if not getattr(cls, ability.flag, False):
            continue
        for member in ability.needs:
            expected = signature_words(ability.protocol, member)
            fault = _fault(cls, ability.protocol, member) if _has_own(cls, member) else None
            if not _has_own(cls, member):
                texts.append(f"{cls.__qualname__}.{ability.flag} is set, but the class has no {expected}: what asks "
                             f"for {ability.protocol.__name__} will fail.")
            elif fault is not None:
                texts.append(f"{cls.__qualname__}.{ability.flag} is set, but {member}{fault.found} cannot be called as "
                             f"{expected}: {fault.why}.")
    return texts


def is_torch_module(cls: Any) -> bool:
    """True for a class that is a torch.nn.Module. Does not import torch: without torch there is no such class."""
    torch = sys.modules.get("torch")
    return torch is not None and inspect.isclass(cls) and issubclass(cls, torch.nn.Module)


def signature_words(protocol: type, member: str) -> str:
    """A member as an error shows it: `forward(self, input_ids, …)`, or the name of what is no method."""
    function = inspect.getattr_static(protocol, member, None)
    function = getattr(function, "__func__", function)
    if not inspect.isfunction(function):
        return member
    signature = inspect.signature(function)
    plain = [parameter.replace(default=inspect.Parameter.empty, annotation=inspect.Parameter.empty)
             for parameter in signature.parameters.values()]
    return f"{member}{signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)}"


@dataclass(frozen=True, slots=True)
class _Fault:
    found: inspect.Signature
    why: str


def _has_own(cls: type, member: str) -> bool:
    """Whether the class has the member, not from torch.nn.Module."""
    inherited = getattr(sys.modules["torch"].nn.Module, member, None)
    return has_member(cls, member) and (inherited is None or getattr(cls, member) is not inherited)


def _fault(cls: type, protocol: type, member: str) -> _Fault | None:
    """Why a call as the protocol's fails on the class's member; None: it works, or the member does not tell."""
    expected, found = inspect.getattr_static(protocol, member, None), getattr(cls, member, None)
    expected = getattr(expected, "__func__", expected)
    if not inspect.isfunction(expected) or not callable(found):
        return None
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):                           # a method written in C says nothing about itself
        return None
    places, names = _call(expected)
    try:
        signature.bind(*(places[1:] if inspect.ismethod(found) else places), **dict.fromkeys(names))
    except TypeError as error:
        return _Fault(signature, str(error))
    return None


def _call(function: Any) -> tuple[list[str], list[str]]:
    """(arguments by place, arguments by name) with which the engine calls a method of a protocol."""
    places: list[str] = []
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        by_place = parameter.kind is not parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        (places if by_place else names).append(parameter.name)
    return places, names
