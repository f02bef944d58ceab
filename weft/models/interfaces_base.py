"""What every programmed model has: the protocols of a model, of one that generates and of one that pools.

Names and attributes are vLLM's. Predicates take a class or an instance and look at attributes only, so a model need not
inherit from a protocol. `interface_check.py` compares signatures.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")


@runtime_checkable
class Model(Protocol):
    """A module that turns the tokens of a step into hidden states. T: tokens of the step, E: hidden size."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None: ...

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """input_ids: [T]. Returns the rows of the embedding: [T, E]."""
        ...

    def forward(self, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None,
                inputs_embeds: Tensor | None = None) -> Tensor:
        """input_ids, positions: [T], the tokens of all sequences one after another. Returns hidden states: [T, E].

        inputs_embeds: [T, E], rows that take the place of the embedding of `input_ids`.
        """
        ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str] | None:
        """weights: (name, tensor) pairs of the checkpoint. Returns the names of the parameters that were filled."""
        ...


@runtime_checkable
class TextGenerationModel(Model, Protocol):
    """A model with a head. N: rows whose logits are wanted, V: vocabulary size."""

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """hidden_states: [N, E]. Returns logits: [N, V]; None on a rank without the head."""
        ...


@runtime_checkable
class EncoderDecoderModel(TextGenerationModel, Protocol):
    """A model with an encoder of token ids beside its decoder. N: the encoder's tokens that are new in the step."""

    def forward(self, input_ids: Tensor, positions: Tensor, *,      # pyright: ignore[reportIncompatibleMethodOverride]
                encoder_input_ids: Tensor, encoder_positions: Tensor, intermediate_tensors: Any = None,
                inputs_embeds: Tensor | None = None) -> Any:
        """As Model, of the decoder's tokens.

        encoder_input_ids, encoder_positions: [N] int64, inputs of the sequences whose decoder starts in this step, one
        after another, positions from 0; N is 0 in steps in which none starts. Attention layers keep the keys and values
        that they are given of them.
        """
        ...


@runtime_checkable
class PoolingModel(Model, Protocol):
    """A model whose answer is numbers about the prompt."""

    is_pooling_model: ClassVar[Literal[True]] = True
    default_seq_pooling_type: ClassVar[str] = "LAST"          # how one vector is made of a prompt's states
    default_tok_pooling_type: ClassVar[str] = "ALL"           # which tokens' states are given
    attn_type: ClassVar[str] = "decoder"                      # decoder, encoder, encoder_only, encoder_decoder
    score_type: ClassVar[str] = "bi-encoder"                  # bi-encoder, cross-encoder, late-interaction
    pooler: Any


def is_model(model: Any) -> bool:
    """True for a class or instance with the methods of `Model`."""
    return _has_methods(model, "embed_input_ids", "forward")


def is_text_generation_model(model: Any) -> bool:
    """True for a class or instance that computes logits."""
    return _has_methods(model, "forward", "compute_logits")


def has_encoder(model: Any) -> bool:
    """True for a class or instance whose `forward` takes an encoder's tokens."""
    try:
        return "encoder_input_ids" in inspect.signature(model.forward).parameters
    except (AttributeError, TypeError, ValueError):
        return False


def is_pooling_model(model: Any) -> bool:
    """True for a class or instance that pools."""
    return bool(getattr(model, "is_pooling_model", False))


def default_pooling_type(seq_pooling_type: str = "LAST", tok_pooling_type: str = "ALL") -> Callable[[_T], _T]:
    """Class decorator: how the model pools if nothing else is said."""
    def mark(model: _T) -> _T:
        setattr(model, "default_seq_pooling_type", seq_pooling_type)      # noqa: B010  the class is any class
        setattr(model, "default_tok_pooling_type", tok_pooling_type)      # noqa: B010
        return model

    return mark


def attn_type(kind: str) -> Callable[[_T], _T]:
    """Class decorator: the kind of the model's attention (decoder, encoder, encoder_only, encoder_decoder)."""
    def mark(model: _T) -> _T:
        setattr(model, "attn_type", kind)                                 # noqa: B010
        return model

    return mark


def get_default_seq_pooling_type(model: Any) -> str:
    """How one vector is made of a prompt's states. Older models have one `default_pooling_type` for both kinds."""
    older = getattr(model, "default_pooling_type", "LAST")
    return getattr(model, "default_seq_pooling_type", "LAST" if older in ("ALL", "STEP") else older)


def get_default_tok_pooling_type(model: Any) -> str:
    """Which tokens' states are given. Older models have one `default_pooling_type` for both kinds."""
    older = getattr(model, "default_pooling_type", "ALL")
    return getattr(model, "default_tok_pooling_type", older if older in ("ALL", "STEP") else "ALL")


def get_attn_type(model: Any) -> str:
    """The kind of the model's attention."""
    return getattr(model, "attn_type", "decoder")


def get_score_type(model: Any) -> str:
    """How two texts are compared: bi-encoder, cross-encoder or late-interaction."""
    return getattr(model, "score_type", "bi-encoder")


def has_member(model: Any, name: str) -> bool:
    """True if the class or instance has the attribute, or a constructor assigns it. A protocol's stub is none."""
    classes = [cls for cls in (model if isinstance(model, type) else type(model)).__mro__ if not is_protocol(cls)]
    if not isinstance(model, type) and name in vars(model):
        return True
    owner = next((cls for cls in classes if name in vars(cls)), None)
    if owner is not None:
        return True
    return isinstance(model, type) and any(name in getattr(vars(cls).get("__init__"), "__code__", _NOTHING).co_names
                                           for cls in classes)


def is_protocol(cls: type) -> bool:
    """True for a Protocol itself, False for a class that inherits from one."""
    return bool(vars(cls).get("_is_protocol", False))


_NOTHING = compile("", "", "exec")


def _has_methods(model: Any, *names: str) -> bool:
    return all(callable(getattr(model, name, None)) and has_member(model, name) for name in names)
