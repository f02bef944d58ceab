"""Named extra outputs: what a model computes for each token besides its result, given to requests that ask for it.

    hidden_states.0 … hidden_states.L    states [T, E] that enter block i; L, the number of blocks: those that leave the
                                         last one, before the final norm (described models)
    hidden_states.last                   states that go to the head, after the final norm (every model)

A programmed model has others where its module has a dictionary `extra_outputs`: {name: None} from its constructor on.
Its forward puts a tensor there, with a row for each token of the step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from weft.errors import ConfigError
from weft.models.decoder import Stack
from weft.models.engine_model import EngineModel
from weft.ops.step import Step

LAST = "hidden_states.last"
_BLOCK = "hidden_states."


def extra_output_names(model: EngineModel) -> tuple[str, ...]:
    """The names that a model knows. ConfigError for a dictionary `extra_outputs` that is none."""
    module = model.module
    if isinstance(module, Stack):
        return (*(f"{_BLOCK}{i}" for i in range(len(module.blocks) + 1)), LAST)
    own = _own(model)
    for name in own:
        if not isinstance(name, str) or not name or name == LAST:
            raise ConfigError("model_class.extra_outputs", name, expected=f"names other than {LAST}")
    return (*own, LAST)


def forward_with(model: EngineModel, step: Step, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """As `model.forward`, and {name: [T, ...]} of extra outputs. The tensors are nobody else's."""
    module, names = model.module, list(names)
    if isinstance(module, Stack):
        shape = (len(step.input_ids), module.spec.hidden_size)
        taps = {name: int(name.removeprefix(_BLOCK)) for name in names if name != LAST}
        blocks = {block: torch.empty(shape, dtype=module.dtype) for block in sorted(taps.values())}
        hidden = model.forward(replace(step, taps=blocks) if blocks else step)
        found = {name: blocks[block] for name, block in taps.items()}
    else:
        own, found = _own(model), {}
        own.update(dict.fromkeys(own))
        wanted = [name for name in names if name != LAST]
        hidden = model.forward(replace(step, is_eager=True) if wanted else step)
        for name in wanted:
            found[name] = _rows(name, own[name], len(step.input_ids))
        own.update(dict.fromkeys(own))
    if LAST in names:
        found[LAST] = hidden.clone()
    return hidden, found


def _own(model: EngineModel) -> dict[str, Tensor | None]:
    """The dictionary of a programmed model; an empty one for a model that has none."""
    own = getattr(model.module, "extra_outputs", {})
    if not isinstance(own, dict):
        raise ConfigError("model_class.extra_outputs", type(own).__name__, expected="a dictionary {name: None}")
    return own


def _rows(name: str, x: Tensor | None, num_tokens: int) -> Tensor:
    """ConfigError unless x has a row for each token."""
    if not isinstance(x, Tensor) or x.dim() < 1 or x.shape[0] != num_tokens:
        found = "nothing" if x is None else list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ConfigError(f"model_class.extra_outputs[{name!r}]", found, expected=f"a tensor [{num_tokens}, ...]: a "
                          "row for each token of the step, set by forward")
    return x.detach().clone()
