"""`Site`: an attention module of a model, as calling the model on the "meta" device shows it; and what can be wired.

Nothing is known by model name. A model can be wired when each of its layers attends once, through Transformers'
attention functions, with a mask that weft's cache has: causal, with a window, chunked or bidirectional.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weft.cache.masks import CAUSAL, Bidirectional, Chunked, Mask
from weft.models.transformers.attention import LOOKING, AttentionCall
from weft.models.transformers.outline import Answering, Outline, outline

TRIAL_TOKENS = 6
_FAR = (1 << 22) + 12345            # a position past every window and chunk

# Keywords of attention functions that say nothing about the result, or that the "meta" call itself settles.
_HARMLESS = frozenset({
    "dropout", "position_ids", "use_cache", "cache", "past_key_values", "output_attentions", "output_hidden_states",
    "output_router_logits", "return_dict", "cache_position", "is_causal", "logits_to_keep", "training",
    "num_items_in_batch", "deterministic", "layer_idx", "sliding_window", "attention_chunk_size", "cross_attention"})


class NotWiredError(Exception):
    """Why a model keeps its own attention and cache, in words."""


@dataclass(frozen=True, slots=True)
class Site:
    """One attention module. name: in the model. sinks: name of the module's parameter with a sink for each head."""

    name: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    scale: float
    softcap: float | None
    window: int | None
    mask: Mask
    sinks: str | None


@dataclass(slots=True)
class LayerCall:
    """How the first decoder layer is called. rotary_dim: of the `position_embeddings` it is given, None: of none."""

    rotary_dim: int | None = None
    returns_tuple: bool = False


def watch_layer(layer: nn.Module) -> LayerCall:
    """Notes how a layer is called, from now on."""
    seen = LayerCall()

    def note(module: nn.Module, args: Any, keywords: dict[str, Any], output: Any) -> None:
        given = keywords.get("position_embeddings")
        if isinstance(given, tuple) and all(isinstance(x, Tensor) and x.dim() == 3 for x in given):
            seen.rotary_dim = given[0].shape[-1]
        seen.returns_tuple = isinstance(output, tuple)

    layer.register_forward_hook(note, with_kwargs=True)
    return seen


def find_sites(model: nn.Module, num_layers: int | None) -> tuple[Outline, tuple[Site, ...]]:
    """How to call a model on the "meta" device, and its attention modules. NotWiredError says why it has to stay as
    it is. num_layers: that its config states.
    """
    calls: list[AttentionCall] = []
    for module in model.modules():
        vars(module)["weft_calls"] = calls
    ids = torch.zeros(1, TRIAL_TOKENS, dtype=torch.int64, device="meta")
    try:
        with torch.no_grad(), Answering():
            found, _, _ = outline(model, ids)
    except Exception as error:
        raise NotWiredError(f"it does not run without numbers: {type(error).__name__}: {str(error)[:160]}") from error
    if getattr(model, "_is_stateful", False):
        raise NotWiredError("it keeps states from step to step")
    if not calls:
        raise NotWiredError("its attention does not go through Transformers' attention functions")
    if not found.takes_positions:
        raise NotWiredError("its backbone takes no position_ids, which packed sequences need")
    names = {module: name for name, module in model.named_modules()}
    if len({call.module for call in calls}) < len(calls):
        raise NotWiredError("one of its attention modules is called more than once in a step")
    if num_layers is not None and len(calls) < num_layers:
        raise NotWiredError(f"{len(calls)} of its {num_layers} layers attend through Transformers' functions")
    return found, tuple(_site(names[call.module], call) for call in calls)


def _site(name: str, call: AttentionCall) -> Site:
    if call.query.shape[2] != call.key.shape[2] or call.query.shape[2] != TRIAL_TOKENS:
        raise NotWiredError(f"{name} has {call.key.shape[2]} keys for {call.query.shape[2]} of {TRIAL_TOKENS} queries")
    if call.query.shape[-1] != call.key.shape[-1] or call.query.shape[1] % call.key.shape[1]:
        raise NotWiredError(f"{name} has queries {list(call.query.shape)} and keys {list(call.key.shape)}")
    keywords = {key: value for key, value in call.keywords.items() if value is not None and value is not False}
    softcap = keywords.pop("softcap", None)
    scale, sinks = keywords.pop("scaling", None), keywords.pop("s_aux", None)
    unknown = [key for key in keywords if key not in _HARMLESS]
    if unknown:
        raise NotWiredError(f"the attention of {name} is given {', '.join(unknown)}, which weft does not know")
    mask, window = _mask(name, call)
    size = call.query.shape[-1]
    return Site(name=name, num_heads=call.query.shape[1], num_kv_heads=call.key.shape[1],
                head_dim=max(size, call.value.shape[-1]), value_dim=call.value.shape[-1],
                scale=float(size ** -0.5 if scale is None else scale),
                softcap=None if softcap is None else float(softcap), window=window, mask=mask,
                sinks=None if sinks is None else _parameter(call.module, sinks))


def _parameter(module: nn.Module, tensor: Tensor) -> str:
    """The name of a module's parameter. NotWiredError when the tensor is none."""
    for name, parameter in module.named_parameters(recurse=False):
        if parameter is tensor:
            return name
    raise NotWiredError("attention sinks that are no parameter of the attention module")


def _mask(name: str, call: AttentionCall) -> tuple[Mask, int | None]:
    """(mask, window) of one module."""
    if call.mask is None:
        is_causal = call.keywords.get("is_causal")
        is_causal = getattr(call.module, "is_causal", True) if is_causal is None else is_causal
        return (CAUSAL if is_causal else Bidirectional()), call.keywords.get("sliding_window")
    sees = getattr(call.mask, "weft_sees", None)
    if sees is None:
        raise NotWiredError(f"the attention mask of {name} is changed after Transformers made it")
    try:
        return _rule(lambda query, key: bool(sees(*map(torch.tensor, (0, 0, query, key)))))
    except NotWiredError:
        raise
    except Exception as error:
        raise NotWiredError(f"the attention mask of {name} cannot be asked: {type(error).__name__}: {error}") from error


def _rule(sees: Callable[[int, int], bool]) -> tuple[Mask, int | None]:
    """(mask, window) of a function that says whether the query at one position sees the key at another."""
    last = TRIAL_TOKENS - 1
    if sees(0, last):
        if all(sees(q, k) for q, k in ((last, 0), (0, 0), (0, _FAR), (_FAR, 0))):
            return Bidirectional(), None
        raise NotWiredError("a mask that lets queries see some of the later keys")
    first = _first_seen(sees, _FAR)
    if first == 0:
        found: tuple[Mask, int | None] = CAUSAL, None
    elif _first_seen(sees, _FAR + 1) == first + 1:
        found = CAUSAL, _FAR - first + 1
    else:
        found = Chunked(_chunk(sees, first)), None
    mask, window = found
    for query in (0, 1, last, 100, 4097, _FAR):                # what was found must explain other places, too
        low = max(0, query - window + 1) if window else query - query % mask.size if isinstance(mask, Chunked) else 0
        expected = {key: low <= key <= query for key in (0, low - 1, low, query, query + 1) if key >= 0}
        if any(sees(query, key) != seen for key, seen in expected.items()):
            raise NotWiredError("a mask that is neither causal, nor with a window, nor in chunks")
    return found


def _first_seen(sees: Callable[[int, int], bool], query: int) -> int:
    """The first key that a query sees, when it sees all from there up to itself."""
    low, high = 0, query
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if sees(query, middle) else (middle + 1, high)
    return low


def _chunk(sees: Callable[[int, int], bool], first: int) -> int:
    """The size of the chunk that begins at `first`."""
    size = 1
    while sees(first + size, first):
        size += 1
        if size > 1 << 17:
            raise NotWiredError("a mask in chunks of more than 131072 tokens")
    return size


def meta_model(cls: Any, config: Any, dtype: torch.dtype) -> Any:
    """The model without numbers, whose attention notes its calls. Errors are those of its class."""
    with torch.device("meta"):
        keywords = {"attn_implementation": "eager"} if cls._can_set_attn_implementation() else {}
        model = cls._from_config(config, dtype=dtype, **keywords).eval()
    if keywords:      # now: some towers choose a class of attention by its name when they are made (SAM)
        model.set_attn_implementation(LOOKING)
    if model._can_set_experts_implementation():
        model.set_experts_implementation(LOOKING)
    return model
