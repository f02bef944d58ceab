"""`Outline`: how a Transformers model is called, found by calling it once on the "meta" device or with its weights.

The top module (`LlamaForCausalLM`) calls its backbone (`LlamaModel`), which returns hidden states; what the top does
with them afterwards is the head. weft calls backbone and head apart, because only some rows are sampled.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Arguments of the top and of backbones under which token ids and positions go in.
_IDS, _POSITIONS = "input_ids", "position_ids"
TYPES = "token_type_ids"
_NUM_LOGITS = "logits_to_keep"          # argument of the top: how many of the last tokens get logits, 0 for all


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """backbone: the module's name in the model, "" for the model itself. keywords: how the model calls it, without
    token ids and positions. takes_positions: whether it takes `position_ids`. output: class of what it returns."""

    backbone: str
    keywords: Mapping[str, Any]
    takes_positions: bool
    output: type

    def states(self, model: nn.Module, input_ids: Tensor, positions: Tensor | None,
               token_types: Tensor | None = None, more: Mapping[str, Any] | None = None) -> Tensor:
        """Hidden states [1, T, E] of input_ids [1, T]. positions: [1, T]; None: the model counts them itself.

        token_types: [T]; None: the model's default, type 0. more: other arguments of the backbone.
        """
        given = {_IDS: input_ids} if positions is None else {_IDS: input_ids, _POSITIONS: positions}
        if token_types is not None:
            given[TYPES] = token_types.unsqueeze(0)
        return first_states(model.get_submodule(self.backbone)(**{**self.keywords, **given, **(more or {})}))

    def look(self, model: nn.Module) -> None:
        """Call a model without memory once more."""
        ids = torch.zeros(1, 4, dtype=torch.int64, device="meta")
        with torch.no_grad(), Answering():
            self.states(model, ids, None)

    def logits(self, model: nn.Module, hidden_states: Tensor) -> Tensor:
        """[N, E] -> [N, V], by the model's own forward with the backbone's result put in its place."""
        result = self.output(last_hidden_state=hidden_states.unsqueeze(0))
        with _replaced(model.get_submodule(self.backbone), result):
            out = model(**{_IDS: torch.zeros(1, len(hidden_states), dtype=torch.int64), "use_cache": False})
        return out.logits[0]

    def classified(self, model: nn.Module, hidden_states: Tensor, token_ids: Sequence[int]) -> Tensor:
        """The logits, [L] or [T, L], that a classifier makes of all states [T, E] of a prompt."""
        body = model.get_submodule(self.backbone)
        states, pooler = hidden_states.unsqueeze(0), getattr(body, "pooler", None)
        pooled = {}
        if isinstance(pooler, nn.Module) and "pooler_output" in {field.name for field in fields(self.output)}:
            pooled["pooler_output"] = pooler(states)                    # the body's own, which its head may read
        with _replaced(body, self.output(last_hidden_state=states, **pooled)):
            return model(**{_IDS: torch.tensor([list(token_ids)])} | _flags(model)).logits[0]


class Answering(TorchDispatchMode):
    """On the "meta" device numbers are asked for in vain. Conditions get the answer True, other questions 1.

    Models ask whether a batch is not padded, not packed or short. Wrong answers cannot do harm: they change numbers,
    which nobody reads here, or the number of calls, which is checked.
    """

    _LIMIT = 10_000

    def __init__(self) -> None:
        super().__init__()
        self._num_answers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            self._num_answers += 1
            if self._num_answers > self._LIMIT:
                raise RuntimeError("it loops on numbers")
            return True if args[0].dtype == torch.bool else 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _replaced(module: nn.Module, result: Any) -> Iterator[None]:
    """The module returns `result`, whatever it is called with."""
    vars(module)["forward"] = lambda *args, **keywords: result
    try:
        yield
    finally:
        del vars(module)["forward"]


def num_token_types(model: nn.Module, hf_config: Any) -> int:
    """Rows of the table of token types (BERT's segments); 0: the model takes none."""
    return getattr(hf_config, "type_vocab_size", 0) or 0 if takes_argument(model, TYPES) else 0


def first_states(output: Any) -> Tensor:
    """The final hidden states of what a backbone returned."""
    states = getattr(output, "last_hidden_state", None)
    return output[0] if states is None else states


def takes_argument(module: nn.Module, name: str) -> bool:
    """Whether a module's forward names this argument."""
    return name in inspect.signature(module.forward).parameters


def call_model(model: nn.Module, input_ids: Tensor, *, last_logits: bool = False) -> Any:
    """Call the whole model [1, T], without a cache; it counts the positions.

    last_logits: the last token's logits are enough, if the model can leave out the others.
    """
    fewer = {_NUM_LOGITS: 1} if last_logits and takes_argument(model, _NUM_LOGITS) else {}
    return model(**({_IDS: input_ids} | _flags(model) | fewer))


def outline(model: nn.Module, input_ids: Tensor) -> tuple[Outline, Any, Any]:
    """(outline, what the backbone returned, what the model returned), from one call. ValueError when it is of no form
    that weft can call in two parts.

    input_ids: [1, T], on the model's device. The logits returned may be the last token's alone.
    """
    called: list[tuple[nn.Module, dict[str, Any], Any]] = []
    handles = [child.register_forward_hook(_noting(called, child), with_kwargs=True)
               for child in model.modules() if child is not model]
    try:
        result = call_model(model, input_ids, last_logits=True)
    finally:
        for handle in handles:
            handle.remove()
    if getattr(result, "logits", None) is None:
        return Outline("", _flags(model), takes_argument(model, _POSITIONS), type(result)), result, result
    names = {module: name for name, module in model.named_modules()}
    for module, keywords, output in called:
        if hasattr(output, "last_hidden_state"):
            kept = _constant(keywords, input_ids)
            return Outline(names[module], kept, takes_argument(module, _POSITIONS), type(output)), output, result
    raise ValueError("no module within it takes input_ids and returns hidden states")


def _noting(called: list[tuple[nn.Module, dict[str, Any], Any]], module: nn.Module) -> Any:
    def note(_module: nn.Module, args: Any, keywords: dict[str, Any], output: Any) -> None:
        names = list(inspect.signature(module.forward).parameters) if args else []
        given = dict(zip(names, args, strict=False)) | keywords
        if isinstance(given.get(_IDS), Tensor):
            called.insert(0, (module, given, output))         # an outer module ends after those within it

    return note


def _constant(keywords: Mapping[str, Any], input_ids: Tensor) -> dict[str, Any]:
    """The keywords that do not change with the tokens. ValueError for a tensor that weft could not make again."""
    kept = {key: value for key, value in keywords.items() if key not in (_IDS, _POSITIONS)}
    for key, value in kept.items():
        if isinstance(value, Tensor) and value is not input_ids:
            raise ValueError(f"its backbone is given {key}, a tensor that weft does not know")
    return kept


def _flags(model: nn.Module) -> dict[str, Any]:
    return {"use_cache": False} if takes_argument(model, "use_cache") else {}
