"""`MelEmbedding`: the first end of an encoder that hears: two convolutions over a log-mel spectrogram."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weft.architectures.spec import EmbeddingSpec, Sinusoids
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer
from weft.layers.shard import Span
from weft.layers.sinusoids import sinusoids
from weft.ops.step import RowEmbeds

_WIDTH = 3                              # frames that a convolution sees


class MelEmbedding(Layer):
    """An EmbeddingSpec with `num_mel_bins`: the second convolution makes a row of two frames.

    Source: arXiv:2212.04356 section 2.2; WhisperEncoder of Transformers.
    """

    def __init__(self, spec: EmbeddingSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        assert spec.num_mel_bins and spec.positions is not None, "only an embedding with both is made here"
        self.spec, self.hidden_size, self.dtype = spec, hidden_size, context.dtype
        self.vocabulary = Span.of(0)
        self.positions = self.parameter(spec.positions.num_positions, hidden_size, context=context)
        self.conv1 = _Convolution(spec.num_mel_bins, hidden_size, stride=1, context=context)
        self.conv2 = _Convolution(hidden_size, hidden_size, stride=2, context=context)

    def forward(self, input_ids: Tensor, positions: Tensor, given: RowEmbeds | None = None,
                token_types: Tensor | None = None) -> Tensor:
        """given: rows [T, 2 * num_mel_bins], the two frames of each row; an input has as many rows as there are
        positions. Returns [T, E], newly allocated.
        """
        assert given is not None, "an encoder that hears is given rows"
        frames = given.values.to(self.dtype).view(-1, 2 * len(self.positions), self.spec.num_mel_bins)
        # One input at a time: the bits of an input's rows must not depend on its company.
        return torch.cat([self.conv2(self.conv1(x.T)).T + self.positions for x in frames])

    def allocate(self, device: str) -> None:
        """As Layer; the numbers of sinusoidal positions are computed."""
        super().allocate(device)
        if isinstance(self.spec.positions, Sinusoids):
            self.positions.data.copy_(sinusoids(self.spec.positions, self.hidden_size))

    def own_homes(self) -> dict[str, Home]:
        """As Layer. A checkpoint's own table of positions counts, if there is one."""
        return {"positions.weight": Home(self.positions.data, self, "positions",
                                         is_optional=isinstance(self.spec.positions, Sinusoids))}

    def token_bytes(self, native: bool) -> int:
        """As Layer, for a row: its frames before and after each step of the first convolution, and the second's."""
        frame = 2 * self.hidden_size + self.spec.num_mel_bins * (1 + _WIDTH)
        return (2 * frame + (2 * _WIDTH + 3) * self.hidden_size) * self.dtype.itemsize


class _Convolution(Layer):
    """gelu of a convolution whose window is padded with zeros at both ends."""

    def __init__(self, in_features: int, out_features: int, *, stride: int, context: LayerContext) -> None:
        super().__init__()
        self.stride = stride
        self.weight = self.parameter(out_features, in_features, _WIDTH, context=context)
        self.bias = self.parameter(out_features, context=context)

    def forward(self, x: Tensor) -> Tensor:
        """[in, n] -> [out, n / stride]."""
        return F.gelu(F.conv1d(x[None], self.weight, self.bias, stride=self.stride, padding=_WIDTH // 2))[0]
