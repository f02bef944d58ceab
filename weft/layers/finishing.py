"""`LayerFinisher`: hands each layer's loaded weights to its kernel as soon as the last of them is there.

So a model that is packed or quantized as it is loaded never holds more than a layer twice. Knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from weft.layers.layer import Layer
from weft.ops.quantized import QuantizedWeight


class LayerFinisher:
    """Which homes each layer still waits for.

    homes: {part name: view of a parameter}, all of a model's; not kept.
    """

    def __init__(self, model: nn.Module, homes: Mapping[str, Tensor]) -> None:
        layers = [module for module in model.modules() if isinstance(module, Layer)]
        owners = {_storage(parameter): (layer, parameter)
                  for layer in layers for parameter in layer.loaded_parameters()}
        self._owner = {name: owners[_storage(view)] for name, view in homes.items()}
        self._first = {name: view.storage_offset() for name, view in homes.items()}
        self._waiting: dict[Layer, set[str]] = {layer: set() for layer in layers}
        for name, (layer, _) in self._owner.items():
            self._waiting[layer].add(name)
        self._homes = {layer: tuple(names) for layer, names in self._waiting.items()}

    def takes_codes(self, home: str, *, int8_activations: bool = False) -> bool:
        """Whether a home's layer computes with integer codes as they are. int8_activations: as QuantizedWeight's."""
        if home not in self._owner or self._owner[home][1].dim() < 2:
            return False
        layer = self._owner[home][0]
        return layer.takes_codes or (int8_activations and layer.takes_integers)

    def take(self, home: str, weight: QuantizedWeight) -> None:
        """Give a home its weight as codes. Only where `takes_codes`."""
        layer, parameter = self._owner[home]
        layer.take(parameter, self._first[home], weight)
        self.loaded(home)

    def loaded(self, home: str) -> None:
        """A home has its numbers."""
        if home not in self._owner:                           # a row of a home that is stored row by row
            return
        layer, _ = self._owner[home]
        self._waiting[layer].discard(home)
        if not self._waiting[layer]:
            self._finish(layer)

    def finish(self) -> None:
        """All is loaded: finish the layers that are left."""
        for layer in list(self._waiting):
            self._finish(layer)

    def _finish(self, layer: Layer) -> None:
        del self._waiting[layer]
        layer.finish_loading()
        layer.bind_children()
        for home in self._homes.pop(layer):                   # with the last reference a parameter's memory goes
            del self._owner[home]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
