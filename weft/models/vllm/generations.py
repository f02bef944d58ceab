"""`adapted`: a class written for any generation of vLLM, as a class with the interface that the engine drives.

g0 (to 0.7): `forward(input_ids, positions, kv_caches, attn_metadata, …)`, `compute_logits(hidden, sampling_metadata)`,
a constructor `(config, cache_config, quant_config, …)`. g1 (0.8 to 0.11): `(*, vllm_config, prefix)`,
`get_input_embeddings`. g2 (from 0.11.1): `embed_input_ids`, `compute_logits(hidden)`, which is the engine's interface.
A class of g2 stays as it is; of another one a subclass is made, with methods that it lacks or that differ.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

from torch import Tensor, nn

from weft.errors import ConfigError, NotBuiltError
from weft.layers.public import AutoWeightsLoader, VocabParallelEmbedding
from weft.layers.public.embedding import ParallelLMHead
from weft.models.interfaces import supports_multimodal
from weft.models.interfaces_base import has_member
from weft.models.vllm.forward_context import NoCache, get_forward_context
from weft.models.vllm.multimodal.merging import merged_embeddings
from weft.models.vllm.vllm_config import VllmConfig

logger = logging.getLogger("weft")


@cache
def adapted(cls: type[nn.Module]) -> type[nn.Module]:
    """The class, or a subclass of the same name with the engine's interface. Logs once what was bridged."""
    bridges: dict[str, Callable[..., Any]] = {}
    for name, bridge in (("__init__", _init), ("embed_input_ids", _embed), ("forward", _forward),
                         ("compute_logits", _logits), ("load_weights", _load),
                         ("embed_multimodal", _embed_multimodal)):
        made = bridge(cls)
        if made is not None:
            bridges[name] = made
    if not bridges:
        return cls
    logger.info("%s is written for vLLM's generation %s: weft bridges %s", cls.__qualname__, generation(cls),
                ", ".join(bridges))
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), names | bridges)


def generation(cls: type) -> str:
    """g0, g1 or g2: by the oldest of its methods."""
    if "kv_caches" in _parameters(cls, "forward") or "vllm_config" not in _parameters(cls, "__init__"):
        return "g0"
    if "sampling_metadata" in _required(cls, "compute_logits"):
        return "g0"
    return "g2" if has_member(cls, "embed_input_ids") else "g1"


def _parameters(cls: type, method: str) -> dict[str, inspect.Parameter]:
    """Parameters of a method without `self`; {} for a method that is not there or says nothing about itself."""
    function = getattr(cls, method, None)
    if function is None or function is getattr(nn.Module, method, None):
        return {}
    try:
        return dict(list(inspect.signature(function).parameters.items())[1:])
    except (TypeError, ValueError):
        return {}


def _required(cls: type, method: str) -> list[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [name for name, parameter in _parameters(cls, method).items()
            if parameter.default is inspect.Parameter.empty and parameter.kind not in kinds]


def _takes_two(parameters: Iterable[inspect.Parameter]) -> bool:
    """Whether a method may be given two arguments by place."""
    kinds = [parameter.kind for parameter in parameters]
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in by_place for kind in kinds) >= 2


def _takes(cls: type, method: str, name: str) -> bool:
    parameters = _parameters(cls, method)
    return name in parameters or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _init(cls: type[nn.Module]) -> Callable[..., None] | None:
    """A constructor (*, vllm_config, prefix) for a class that takes `config` and others instead."""
    parameters = _parameters(cls, "__init__")
    if not parameters or "config" not in parameters or "vllm_config" in parameters:
        return None
    unknown = [name for name in _required(cls, "__init__") if name not in _CONFIGS and name != "prefix"]
    if unknown:
        raise ConfigError("model_class.__init__", f"{cls.__qualname__}.__init__{inspect.signature(cls)}",
                          expected="__init__(self, *, vllm_config, prefix), or (config, cache_config, quant_config, …)",
                          hint=f"weft does not know what to give as {', '.join(unknown)}.")

    def __init__(self: nn.Module, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        values = {name: read(vllm_config) for name, read in _CONFIGS.items() if name in parameters}
        if "prefix" in parameters:
            values["prefix"] = prefix
        cls.__init__(self, **values)

    return __init__


_CONFIGS: dict[str, Callable[[VllmConfig], Any]] = {
    "config": lambda c: c.model_config.hf_config, "cache_config": lambda c: c.cache_config,
    "quant_config": lambda c: c.quant_config, "linear_method": lambda c: None, "lora_config": lambda c: c.lora_config,
    "multimodal_config": lambda c: c.model_config.multimodal_config, "scheduler_config": lambda c: c.scheduler_config,
    "pooler_config": lambda c: c.model_config.pooler_config,
}


def _embed(cls: type[nn.Module]) -> Callable[..., Tensor] | None:
    """embed_input_ids by `get_input_embeddings`, of the class or of its `model`, else by its token table."""
    if has_member(cls, "embed_input_ids"):
        return None
    has_media = supports_multimodal(cls)

    def look_up(self: nn.Module, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E]."""
        inner: list[Any] = [getattr(self, name, None) for name in ("model", "transformer", "language_model")]
        if has_media and hasattr(cls, "get_language_model"):
            inner.insert(0, self.get_language_model())      # pyright: ignore[reportCallIssue]
        owners: list[Any] = [self, *(owner for owner in inner if owner is not None)]
        for owner in owners:
            if owner is not self and has_member(owner, "embed_input_ids"):
                return owner.embed_input_ids(input_ids)
            if has_member(owner, "get_input_embeddings"):
                return _by_older_name(owner, input_ids)
        return _table(self)(input_ids)

    if not has_media:
        return look_up
    merges = len(_parameters(cls, "get_input_embeddings")) > 1 and has_member(cls, "get_input_embeddings")

    def embed_input_ids(self: Any, input_ids: Tensor, multimodal_embeddings: Any = None, *,
                        is_multimodal: Tensor | None = None) -> Tensor:
        """[T] -> [T, E], with the items' rows where is_multimodal [T]."""
        if not merges or multimodal_embeddings is None:
            return merged_embeddings(partial(look_up, self), input_ids, multimodal_embeddings, is_multimodal)
        more = {"is_multimodal": is_multimodal} if _takes(cls, "get_input_embeddings", "is_multimodal") else {}
        return self.get_input_embeddings(input_ids, multimodal_embeddings, **more)

    return embed_input_ids


def _by_older_name(owner: Any, input_ids: Tensor) -> Tensor:
    """get_input_embeddings(input_ids); without arguments it returns the module."""
    if _required(type(owner), "get_input_embeddings"):
        return owner.get_input_embeddings(input_ids)
    return owner.get_input_embeddings()(input_ids)


def _table(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding | nn.Embedding) and not isinstance(module, ParallelLMHead):
            return module
    raise ConfigError("model_class.embed_input_ids", type(model).__qualname__, expected="a method or a token table",
                      hint="Write embed_input_ids(self, input_ids).")


def _forward(cls: type[nn.Module]) -> Callable[..., Tensor] | None:
    """forward(input_ids, positions, intermediate_tensors, inputs_embeds) for one with other arguments."""
    parameters = _parameters(cls, "forward")
    if not parameters or not _takes_two(parameters.values()):
        return None
    older = [name for name in ("kv_caches", "attn_metadata") if name in parameters]
    optional = [name for name in ("intermediate_tensors", "inputs_embeds") if _takes(cls, "forward", name)]
    if not older and len(optional) == 2:
        return None
    encoder = [name for name in ("encoder_input_ids", "encoder_positions") if name in parameters]
    unknown = [name for name in _required(cls, "forward")[2:] if name not in (*older, *optional, *encoder)]
    if unknown:
        return None                                           # the check of the interface says what is wrong

    def call(self: nn.Module, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any,
             inputs_embeds: Tensor | None, **values: Any) -> Tensor:
        given: dict[str, Any] = {"intermediate_tensors": intermediate_tensors, "inputs_embeds": inputs_embeds}
        if inputs_embeds is not None and "inputs_embeds" not in optional:
            raise NotBuiltError("prompt_embeds", list(inputs_embeds.shape), expected="token ids",
                                hint=f"{cls.__qualname__}.forward has no argument inputs_embeds.")
        values |= {name: given[name] for name in optional}
        if "kv_caches" in older:
            values["kv_caches"] = NoCache()
        if "attn_metadata" in older:
            values["attn_metadata"] = get_forward_context().metadata
        return cls.forward(self, input_ids, positions, **values)

    def forward(self: nn.Module, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None,
                inputs_embeds: Tensor | None = None) -> Tensor:
        """[T], [T] -> [T, E]."""
        return call(self, input_ids, positions, intermediate_tensors, inputs_embeds)

    def with_encoder(self: nn.Module, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None,
                     inputs_embeds: Tensor | None = None, *, encoder_input_ids: Tensor,
                     encoder_positions: Tensor) -> Tensor:
        """[T], [T], the encoder's [N], [N] -> [T, E]."""
        own = {"encoder_input_ids": encoder_input_ids, "encoder_positions": encoder_positions}
        return call(self, input_ids, positions, intermediate_tensors, inputs_embeds,
                    **{name: own[name] for name in encoder})

    return with_encoder if encoder else forward


def _logits(cls: type[nn.Module]) -> Callable[..., Tensor | None] | None:
    """compute_logits(hidden_states) for one that also wants sampling metadata, which weft has none of."""
    required = _required(cls, "compute_logits")
    if len(required) != 2:
        return None

    def compute_logits(self: nn.Module, hidden_states: Tensor) -> Tensor | None:
        """[N, E] -> [N, V]."""
        return cls.compute_logits(self, hidden_states, None)      # pyright: ignore[reportAttributeAccessIssue]

    return compute_logits


def _load(cls: type[nn.Module]) -> Callable[..., set[str]] | None:
    """load_weights by AutoWeightsLoader, with the class's mapper if it has one, for a class without the method."""
    if has_member(cls, "load_weights"):
        return None

    def load_weights(self: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Names of the parameters that were filled."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=getattr(self, "hf_to_vllm_mapper", None))

    return load_weights


def _embed_multimodal(cls: type[nn.Module]) -> Callable[..., Any] | None:
    """embed_multimodal by its older name, whose tensors had one dimension more, of requests, unless the class says no.
    """
    if has_member(cls, "embed_multimodal") or not has_member(cls, "get_multimodal_embeddings"):
        return None
    is_flat = has_member(cls, "merge_by_field_config") and cls.merge_by_field_config      # pyright: ignore

    def embed_multimodal(self: Any, **kwargs: Any) -> Any:
        """The rows of each item."""
        given = kwargs if is_flat else {name: value.unsqueeze(0) if isinstance(value, Tensor) else [value]
                                        for name, value in kwargs.items()}
        return self.get_multimodal_embeddings(**given)

    return embed_multimodal
