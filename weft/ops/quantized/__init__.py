"""Quantized matrices. `QuantizedWeight` is their one form: checkpoint formats and floats become it, kernels pack it."""

from weft.ops.quantized.quantize import METHODS, quantize, weight_only
from weft.ops.quantized.weight import QuantizedWeight, stacked

__all__ = ["METHODS", "QuantizedWeight", "quantize", "stacked", "weight_only"]
