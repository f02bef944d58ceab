"""Clip, norms and rotation by weft's native kernel (csrc/qk.h), in one pass over each token."""

from __future__ import annotations

from torch import Tensor

from weft.ops.native import DTYPES, kernels
from weft.ops.norm.cpu import norm_weight
from weft.ops.norm.options import NormOptions
from weft.ops.qk.case import QKCase


class NativeQK:
    """A kernel with the contract of ReferenceQK. Each clip, norm and rotation computes in float32."""

    def __init__(self, case: QKCase, *norms: Tensor | None) -> None:
        self._transform, self._type = kernels(case.isa).transform_qk, DTYPES[case.dtype]
        norm = case.norm or NormOptions(centred=False, eps=0.0)
        weights, biases = norms[:2], norms[2:]
        self._tensors = [None if w is None else norm_weight(w, norm) for w in weights]
        self._tensors += [None if b is None else b.float() for b in biases]
        self._sizes = case.num_heads, case.num_kv_heads, case.head_dim
        q_weight, k_weight, q_bias, k_bias = (0 if t is None else t.data_ptr() for t in self._tensors or [None] * 4)
        self._norm = (case.clip or 0.0, norm.centred, norm.cast_before_weight, norm.eps,
                      q_weight, k_weight, q_bias, k_bias,
                      case.scope == "each_head", case.scope == "all")
        self._case = case

    def __call__(self, qkv: Tensor, angles: tuple[Tensor, Tensor] | None) -> None:
        """As ReferenceQK. ValueError for another dtype, or a qkv that is not contiguous."""
        if qkv.dtype != self._case.dtype or not qkv.is_contiguous():
            raise ValueError(f"qkv: {qkv.dtype} with strides {qkv.stride()}, expected contiguous {self._case.dtype}")
        cos, sin = (0, 0) if angles is None else (angles[0].data_ptr(), angles[1].data_ptr())
        self._transform(qkv.data_ptr(), self._type, qkv.shape[0], qkv.stride(0), *self._sizes, *self._norm, cos, sin,
                      self._case.half, self._case.interleaved)
