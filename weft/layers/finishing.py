"""`LayerFinisher`: hands a layer's weights to its kernel as soon as the last of them is loaded.

So a model that is packed or quantized as it is loaded never holds more than a layer twice. Knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from weft.layers.layer import Home, Layer
from weft.ops.quantized import QuantizedWeight


class LayerFinisher:
    """Which homes each layer still waits for.

    homes: {part name: home}, all of a model's; their views are not kept.
    """

    def __init__(self, model: nn.Module, homes: Mapping[str, Home]) -> None:
        self._owners = {name: (home.layer, home.part, home.view.dim() > 1) for name, home in homes.items()}
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        self._waiting: dict[Layer, set[str]] = {layer: set() for layer in layers}    # parts; one home has one part
        for home in homes.values():
            self._waiting[home.layer].add(home.part)

    def takes_codes(self, home: str, *, int8_activations: bool = False) -> bool:
        """Whether a home's layer computes with integer codes as they are. int8_activations: as QuantizedWeight's."""
        layer, _, is_matrix = self._owners.get(home, (None, "", False))
        return layer is not None and is_matrix and (layer.takes_codes or (int8_activations and layer.takes_integers))

    def take(self, home: str, weight: QuantizedWeight) -> None:
        """Give a home its weight as codes. Only where `takes_codes`."""
        layer, part, _ = self._owners[home]
        layer.take(part, weight)
        self.loaded(home)

    def loaded(self, home: str) -> None:
        """Say that a home was filled with numbers."""
        if home not in self._owners:                          # a row of a home that is stored row by row
            return
        layer, part, _ = self._owners[home]
        self._waiting[layer].discard(part)
        if not self._waiting[layer]:
            self._finish(layer)

    def finish(self) -> None:
        """Finish the layers that are left once all is loaded."""
        for layer in list(self._waiting):
            self._finish(layer)

    def _finish(self, layer: Layer) -> None:
        del self._waiting[layer]
        layer.finish_loading()
        layer.bind_children()
