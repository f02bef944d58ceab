"""`ModelRegistry`: the models of a process, weft's families and those that users and plugins register.

A registered name wins over a family of the same name. Of a config's `architectures` the first known one counts.
"""

from __future__ import annotations

import logging
from collections import UserDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weft.architectures.registry import families, is_description
from weft.architectures.suffixes import base_architecture, runner_and_convert
from weft.errors import ConfigError
from weft.extend.named_object import place_and_name
from weft.models.interface_check import is_torch_module
from weft.models.registry.entries import FIELD, Entry, _LazyRegisteredModel, _RegisteredModel
from weft.models.registry.model_info import ModelInfo
from weft.models.registry.refusal import refusal

logger = logging.getLogger("weft")


class Entries(UserDict[str, Entry]):
    """Architecture -> entry. Plugins write here too, with the entries that `vllm…models.registry` has."""

    def __setitem__(self, model_arch: str, entry: Entry) -> None:
        """TypeError for what is no entry."""
        if isinstance(entry, type) or not isinstance(entry, Entry):
            raise TypeError(f"ModelRegistry.models[{model_arch!r}] = {entry!r}: expected a _RegisteredModel or a "
                            f"_LazyRegisteredModel; ModelRegistry.register_model({model_arch!r}, …) takes a class or "
                            'its name, "module:Class"')
        super().__setitem__(model_arch, entry)


class _ModelRegistry:
    """models: what was registered; weft's own families are not among it."""

    def __init__(self, models: Mapping[str, Entry] | None = None) -> None:
        self.models = Entries(models or {})

    def register_model(self, model_arch: str, model_cls: Any) -> None:
        """Let `model_cls` run each checkpoint whose config.json names `model_arch`.

        model_cls: a class (a torch module with vLLM's model interface), a function marked by `@architecture`, or one of
        both by name, "module:Name" or "path/file.py:Name", which is imported when it is used.
        TypeError for anything else; ConfigError (a ValueError) for a text of another form, or a class that lacks a
        method, has another signature or asks for another MODEL_API.
        """
        if not isinstance(model_arch, str):
            raise TypeError(f"model_arch = {model_arch!r}: expected the name of an architecture, as config.json has it")
        entry = self._entry(model_arch, model_cls)
        before = self.models.get(model_arch)
        if before is not None and before.words() != entry.words():
            logger.warning("architecture %s was registered as %s and is now %s", model_arch, before.words(),
                           entry.words())
        elif before is None and model_arch in families():
            logger.info("architecture %s: %s takes the place of weft's own description", model_arch, entry.words())
        self.models[model_arch] = entry

    @staticmethod
    def _entry(model_arch: str, model_cls: Any) -> Entry:
        if isinstance(model_cls, str):
            if model_cls.count(":") != 1:
                raise ConfigError(FIELD, model_cls, expected='one colon: "module:Name" or "path/file.py:Name"',
                                  source=model_arch)
            place, name = place_and_name(model_cls, field=FIELD)
            path = str(Path(place).expanduser().absolute()) if place.endswith(".py") else place
            return _LazyRegisteredModel(path, name)
        if is_description(model_cls) or is_torch_module(model_cls):
            return _RegisteredModel.from_model_cls(model_cls)
        raise TypeError(f"{FIELD}({model_arch!r}, {model_cls!r}): expected a class that is a torch.nn.Module, a "
                        'function marked by @architecture, "module:Name" or "path/file.py:Name"')

    def get_supported_archs(self) -> set[str]:
        """The architectures that weft has code for, or that were registered."""
        return {*self.models, *families()}

    def entry_of(self, architecture: str) -> Entry | None:
        """What was registered for a name, or weft's own description of it; None for neither."""
        if architecture in self.models:
            return self.models[architecture]
        family = families().get(architecture)
        return None if family is None else _RegisteredModel(None, family.describe)

    def body_of(self, architecture: str) -> Entry | None:
        """Of a name whose end says that states are pooled: the entry with the same body and another end.

        `LlamaForCausalLM` for `LlamaForSequenceClassification`. None: no such entry, or one whose class is programmed.
        """
        runner, _ = runner_and_convert(architecture) or ("generate", "none")
        if runner != "pooling":
            return None
        entry = self.entry_of(base_architecture(architecture, self.get_supported_archs()))
        return entry if entry is not None and is_description(entry.target()) else None

    def find(self, architectures: str | Sequence[str], *, source: str = "") -> tuple[str, Entry]:
        """(name, entry) of the first name that is known. ConfigError says why none is; source: the config's file."""
        names = _names(architectures)
        for name in names:
            entry = self.entry_of(name)
            if entry is not None:
                return name, entry
        raise self.refusal(names, source=source)

    def refusal(self, architectures: Sequence[str], *, source: str = "") -> ConfigError:
        """The error that says why none of the names runs."""
        return refusal(architectures, self.get_supported_archs(), source=source)

    def inspect_model_cls(self, architectures: str | Sequence[str], model_config: Any = None) -> tuple[ModelInfo, str]:
        """(abilities, name) of the first known architecture; a lazy entry's module is not imported for it.

        model_config: an object with the config's values in `hf_config`, which descriptions read.
        """
        name, entry = self._find_by_body(architectures)
        return entry.inspect_model_cls(_values(model_config)), name

    def resolve_model_cls(self, architectures: str | Sequence[str], model_config: Any = None) -> tuple[type, str]:
        """(class, name) of the first known architecture. class: a programmed one, or weft's that runs descriptions."""
        name, entry = self._find_by_body(architectures)
        return entry.load_model_cls(), name

    def _find_by_body(self, architectures: str | Sequence[str]) -> tuple[str, Entry]:
        """As `find`, but a known name with another suffix counts too: `LlamaForCausalLM` for `LlamaModel`."""
        known = self.get_supported_archs()
        for name in _names(architectures):
            entry = self.entry_of(base_architecture(name, known))
            if entry is not None:
                return name, entry
        return self.find(architectures)

    def is_text_generation_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model generates text."""
        return self.inspect_model_cls(architectures, model_config)[0].is_text_generation_model

    def is_pooling_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model pools."""
        return self.inspect_model_cls(architectures, model_config)[0].is_pooling_model

    def is_cross_encoder_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether two texts in one prompt give one score."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_cross_encoding

    def is_multimodal_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model takes images, audio or video."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_multimodal

    def is_multimodal_raw_input_only_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether such items go to the model as they are."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_multimodal_raw_input_only

    def is_pp_supported_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model's blocks may be divided among processes."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_pp

    def model_has_inner_state(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model has a state for each sequence."""
        return self.inspect_model_cls(architectures, model_config)[0].has_inner_state

    def is_attention_free_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether no block of the model has attention."""
        return self.inspect_model_cls(architectures, model_config)[0].is_attention_free

    def is_hybrid_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether some blocks have attention and others a state."""
        return self.inspect_model_cls(architectures, model_config)[0].is_hybrid

    def is_noops_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether some blocks do nothing."""
        return self.inspect_model_cls(architectures, model_config)[0].has_noops

    def is_transcription_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model turns speech to text."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_transcription

    def is_transcription_only_model(self, architectures: str | Sequence[str], model_config: Any = None) -> bool:
        """Whether the model does nothing else than that."""
        return self.inspect_model_cls(architectures, model_config)[0].supports_transcription_only


ModelRegistry = _ModelRegistry()


def _names(architectures: str | Sequence[str]) -> list[str]:
    names = [architectures] if isinstance(architectures, str) else architectures
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError("architectures", names, expected="at least one name")
    return list(names)


def _values(model_config: Any) -> Mapping[str, Any] | None:
    config = getattr(model_config, "hf_config", None)
    return config if config is None or isinstance(config, Mapping) else config.to_dict()
