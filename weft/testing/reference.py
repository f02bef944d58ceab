"""The other side of a comparison: a model of Transformers, or any torch module, in float32, with all it computes kept.

Hooks keep what goes into each module and what comes out. Queries, keys and values after norms and rotation are seen
where the modelling code hands them to its attention function.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError
from weft.resolve.hf.classes import config_object

_ATTEND = "eager_attention_forward"      # the name in each file of Transformers' models


@dataclass(frozen=True, slots=True, eq=False)
class SeenAttention:
    """What an attention module of Transformers computed with. q [T, H, D]; k, v [T, Hkv, D]. options: as it gave them,
    `scaling`, `sliding_window` and `softcap` among them.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    options: dict[str, Any]


@dataclass(slots=True, eq=False)
class Trace:
    """All that a model computed for one sequence of T tokens.

    inputs: {module name: its first tensor}. outputs: {module name: all its tensors}, in the order of calls.
    attention: {module name: SeenAttention}. logits: [T, V], or the final states [T, E] of a model without a head.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)
    attention: dict[str, SeenAttention] = field(default_factory=dict)
    logits: Tensor = field(default_factory=lambda: torch.empty(0))

    def output(self, name: str, num_tokens: int) -> Tensor | None:
        """The first result of a module as rows [T, N]; None where there is none."""
        found = (as_rows(x, num_tokens) for x in self.outputs.get(name, ()))
        return next((rows for rows in found if rows is not None), None)

    def input(self, name: str, num_tokens: int) -> Tensor | None:
        """What went into a module as rows [T, N]."""
        return as_rows(self.inputs[name], num_tokens) if name in self.inputs else None


def as_rows(x: Tensor, num_tokens: int) -> Tensor | None:
    """[1, T, ...] or [T, ...] -> [T, N] float32; None for a tensor that has no row for each token."""
    if x.dim() >= 3 and x.shape[:2] == (1, num_tokens):
        x = x[0]
    return x.flatten(1).float() if x.dim() >= 2 and x.shape[0] == num_tokens else None


def load_reference(config: EngineConfig, *, has_head: bool, is_trusted: bool, has_overrides: bool,
                   attention: str) -> nn.Module:
    """The model's class in Transformers, with its weights in float32. ConfigError when it cannot be made.

    is_trusted: code of the checkpoint may run. has_overrides: the user has changed the config, for both sides.
    attention: Transformers' implementation of it, "eager" or "sdpa".
    """
    import transformers

    model = config.model
    auto = transformers.AutoModelForCausalLM if has_head else transformers.AutoModel
    options: dict[str, Any] = {"dtype": torch.float32, "attn_implementation": attention,
                               "trust_remote_code": is_trusted}
    if has_overrides:
        options["config"] = config_object(model.hf_config, model.config_source)
    path = Path(model.path)
    if path.suffix == ".gguf":
        path, options["gguf_file"] = path.parent, path.name
    try:
        return auto.from_pretrained(str(path), **options).eval()
    except Exception as error:
        raise ConfigError(
            "model", model.path, expected="a checkpoint that Transformers can run, to compare with",
            hint=f"{auto.__name__}.from_pretrained fails: {type(error).__name__}: {str(error).splitlines()[0]} Is "
            "trust_remote_code needed? check_model(reference=module) compares with a torch module of your own.",
        ) from error


@torch.inference_mode()
def run_reference(model: nn.Module, token_ids: list[int]) -> Trace:
    """Run a model over one sequence and keep everything. ConfigError when it fails."""
    trace = Trace()
    ids = torch.tensor([token_ids])
    with _hooks(model, trace), _attention_seen(model, trace):
        try:
            result = model(ids, use_cache=False) if hasattr(model, "config") else model(ids)
        except Exception as error:
            raise ConfigError("reference", type(model).__name__, expected="a model that runs on token ids [1, T]",
                              hint=f"{type(error).__name__}: {error}") from error
    out = _logits(result)
    rows = None if out is None else as_rows(out, len(token_ids))
    if rows is None:
        raise ConfigError("reference", type(model).__name__, expected="logits [1, T, V], or states [1, T, E]",
                          hint=f"It returned {type(result).__name__}.")
    trace.logits = rows
    return trace


def _logits(result: Any) -> Tensor | None:
    for name in ("logits", "last_hidden_state"):
        if isinstance(getattr(result, name, None), Tensor):
            return getattr(result, name)
    if isinstance(result, tuple | list) and result:
        result = result[0]
    return result if isinstance(result, Tensor) else None


@contextmanager
def _hooks(model: nn.Module, trace: Trace) -> Iterator[None]:
    def keep(name: str) -> Any:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any], result: Any) -> None:
            given = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            if name not in trace.outputs:
                trace.outputs[name] = tuple(x.detach().clone() for x in tensors_in(result))
                if given is not None:
                    trace.inputs[name] = kept.pop(name, given)
        return hook

    def keep_input(name: str) -> Any:
        def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            given = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            if given is not None and name not in trace.inputs:
                kept[name] = given.detach().clone()
        return hook

    kept: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(keep_input(name), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(keep(name), with_kwargs=True).remove)
        yield


def tensors_in(result: Any) -> Iterator[Tensor]:
    """The tensors of a module's result, at its first level."""
    values = result if isinstance(result, tuple | list) else result.values() if isinstance(result, dict) else (result,)
    yield from (x for x in values if isinstance(x, Tensor))


@contextmanager
def _attention_seen(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Keep what the modelling code gives to its own attention function."""
    names = {id(module): name for name, module in model.named_modules()}
    files = {type(module).__module__ for module in model.modules()}

    def seen(original: Any) -> Any:
        def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
            heads = (x[0].transpose(0, 1).float().clone() for x in (query, key, value))        # [T, H, D]
            trace.attention[names.get(id(module), "")] = SeenAttention(*heads, options=kwargs)
            return original(module, query, key, value, *args, **kwargs)
        return attend

    with ExitStack() as stack:
        for file in files:
            original = getattr(sys.modules.get(file), _ATTEND, None)
            if original is not None:
                stack.enter_context(patch.object(sys.modules[file], _ATTEND, seen(original)))
        yield
