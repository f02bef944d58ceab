"""Pooling models of Transformers: what is behind their states, and those that run unmodified, a prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from weft.architectures.pooling_keys import read_pooling_keys
from weft.architectures.pooling_spec import ClassifierSpec, PoolerSpec
from weft.architectures.reader import ConfigReader
from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import ModelConfig
from weft.errors import NotBuiltError
from weft.layers.layer import allocate
from weft.layers.pooler import Pooler
from weft.models.pooler_weights import load_modules
from weft.models.pooling import pooler_spec
from weft.models.purpose import Purpose
from weft.models.transformers.cache_own import without_cache
from weft.models.transformers.check import difference
from weft.models.transformers.outline import TYPES, Outline, first_states, outline, takes_argument
from weft.pooling_params import PoolingParams


class HeadPooler:
    """As ModelPooler: a classifier of Transformers. spec: with a classifier of no layers; what follows the logits.

    head: makes the logits, [L] or [T, L], of a whole prompt's states [T, E] and token ids. None: the states [T, L] are
    logits, of each token or the prompt's in each row.
    """

    needs_whole_prompt = True

    def __init__(self, spec: PoolerSpec) -> None:
        self.spec, self._behind = spec, Pooler(spec, spec.num_labels)
        self.tasks, self.embedding_size, self.num_labels = self._behind.tasks, 0, spec.num_labels
        self.num_columns, self.score_type = spec.num_labels, self._behind.score_type
        self.head: Callable[[Tensor, Sequence[int]], Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                 is_last: bool) -> Tensor | None:
        """As `Pooler.forward`."""
        if not is_last:
            return None
        logits = states if self.head is None else self.head(states, token_ids)
        rows = logits if logits.dim() == 2 else logits.unsqueeze(0)
        return self._behind(rows, params, token_ids=token_ids, is_last=True)


def make_pooler(purpose: Purpose, name: str, hidden_size: int,
                model: ModelConfig) -> tuple[bool, Pooler | HeadPooler | None]:
    """(whether the checkpoint says how states are pooled, what is behind them); None for a model that generates.

    NotBuiltError for a classifier that the class, named `name`, does not have.
    """
    if not purpose.pools:
        return False, None
    classifies = purpose.convert == "classify"
    keys = read_pooling_keys(ConfigReader(model.hf_config, source=model.config_source), classifies=classifies)
    if not classifies:
        spec = pooler_spec(keys, model, default=None)
        return bool(spec.pooling), Pooler(spec if spec.pooling else replace(spec, pooling=("cls",)), hidden_size)
    if not name.endswith("Classification"):
        raise NotBuiltError("convert", "classify", expected="auto, none or embed",
                            hint=f"{name} of Transformers has no classifier.")
    logits = ClassifierSpec(layers=(), pooling=None if purpose.of_tokens else "last")
    return True, HeadPooler(pooler_spec(keys, model, default="last", classifier=logits))


def fill_pooler(pooler: Pooler, checkpoint: Checkpoint, device: str) -> None:
    """Give a pooler memory, and the weights that lie beside a checkpoint in folders of their own."""
    allocate(pooler, device)
    load_modules(pooler, checkpoint.path, is_dummy=checkpoint.is_dummy)


class WholePrompts:
    """A pooling model that runs unmodified: each prompt is one call. It has the methods of OwnCaches.

    gives_logits: a row is a token's logits, or the prompt's, the same for all tokens; else it is a token's state.
    """

    def __init__(self, model: Any, *, gives_logits: bool) -> None:
        self._model, self._gives_logits = model, gives_logits

    def end(self, request_ids: Iterable[str]) -> None:
        """Nothing is kept."""

    def encode(self, request_id: str, input_ids: Tensor) -> None:
        """Never called: such a model is given one input."""
        raise AssertionError("a pooling model takes no input beside the prompt")

    def states(self, request_id: str, start: int, token_ids: list[int], token_types: Tensor | None = None) -> Tensor:
        """[T, E], or [T, L], of a whole prompt. token_types: [T]; None: all are of type 0."""
        if not self._gives_logits:
            return body_states(self._model, token_ids, token_types)
        logits = _called(self._model, token_ids, token_types).logits[0]
        return logits if logits.dim() == 2 else logits.expand(len(token_ids), -1)


def body_states(model: Any, token_ids: Sequence[int], token_types: Tensor | None = None) -> Tensor:
    """[T, E], the final states of the body of a model, before its head."""
    seen: list[Any] = []
    body: nn.Module = model.base_model
    handle = body.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        _called(model, token_ids, token_types)
    finally:
        handle.remove()
    return first_states(seen[-1])[0]


def _called(model: Any, token_ids: Sequence[int], token_types: Tensor | None = None) -> Any:
    """What a model returns for a prompt. It is told that no token is padding, whatever its id."""
    ids = torch.tensor([list(token_ids)])
    mask = {"attention_mask": torch.ones_like(ids)} if takes_argument(model, "attention_mask") else {}
    types = {} if token_types is None else {TYPES: token_types.unsqueeze(0)}
    return model(input_ids=ids, **mask, **types, **without_cache(model))


def pooled_outline(model: Any, sequences: Sequence[list[int]], pooler: Any) -> tuple[Outline, list[Tensor]]:
    """How to call a pooling model in two parts, and the states [T, E] of each sequence, of its first part.

    ValueError for a model of no such form, and for a classifier whose logits are made of more than states and token
    ids.
    """
    found, wanted = None, []
    for token_ids in sequences:
        found, output, result = outline(model, torch.tensor([token_ids]))
        states = first_states(output)[0]
        if isinstance(pooler, HeadPooler):
            problem = difference(found.classified(model, states, token_ids), result.logits[0])
            if problem is not None:
                raise ValueError(f"its logits are not made of its hidden states alone ({problem})")
        wanted.append(states)
    assert found is not None, "there are sequences"
    return found, wanted
