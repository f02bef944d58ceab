"""Matrices of few bits: the one form that every format is read into, made from floats, and that kernels pack."""

from weft.ops.quantized.quantize import METHODS, quantize, weight_only
from weft.ops.quantized.weight import QuantizedWeight, stacked

__all__ = ["METHODS", "QuantizedWeight", "quantize", "stacked", "weight_only"]
