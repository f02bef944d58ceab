"""The definition of norms, clip and rotation of q, k and v, in torch."""

from __future__ import annotations

from torch import Tensor

from weft.ops.norm.fused import FusedNorm
from weft.ops.norm.reference import ReferenceNorm
from weft.ops.qk.case import QKCase
from weft.ops.rope.reference import apply_rope


class ReferenceQK:
    """Norms, clip and rotation of fused q, k and v. norms: q's weight, k's weight, q's bias, k's bias (see QKCase)."""

    def __init__(self, case: QKCase, *norms: Tensor | None) -> None:
        self.case, self.norms = case, None
        if case.norm is not None:
            norm = ReferenceNorm if case.norm.offset else FusedNorm
            self.norms = [norm(w, b, case.norm) for w, b in zip(norms[:2], norms[2:], strict=True)]

    def __call__(self, qkv: Tensor, angles: tuple[Tensor, Tensor] | None) -> None:
        """Change qkv [T, H + 2 Hkv, D] in place. angles: cos and sin, [T, half] float32 each."""
        case, heads = self.case, self.case.num_heads
        if self.norms is not None:
            for norm, x in zip(self.norms, (qkv[:, :heads], qkv[:, heads : heads + case.num_kv_heads]), strict=True):
                x.copy_(norm(x.flatten(1)).view(x.shape) if case.scope == "all" else norm(x))
        if case.clip is not None:
            qkv.clamp_(-case.clip, case.clip)
        if case.half:
            assert angles is not None, "a layer that rotates is given angles"
            cos, sin = (a.to(qkv.dtype).unsqueeze(1) for a in angles)
            apply_rope(qkv[:, : heads + case.num_kv_heads], cos, sin, interleaved=case.interleaved)
