"""`EagleModelMixin`: what a model does for a draft head that reads hidden states of several blocks."""

from __future__ import annotations

from torch import Tensor


class EagleModelMixin:
    """aux_hidden_state_layers: the blocks whose inputs a draft head reads; none, until something sets them."""

    aux_hidden_state_layers: tuple[int, ...] = ()

    def _set_aux_hidden_state_layers(self, layers: tuple[int, ...]) -> None:
        self.aux_hidden_state_layers = layers

    def _maybe_add_hidden_state(self, aux_hidden_states: list[Tensor], layer_idx: int, hidden_states: Tensor,
                                residual: Tensor | None) -> list[Tensor]:
        """Append hidden_states (+ residual), [T, H], if a draft head reads this block. Returns the list."""
        if layer_idx in self.aux_hidden_state_layers:
            aux_hidden_states.append(hidden_states.clone() if residual is None else hidden_states + residual)
        return aux_hidden_states
