"""Steps beside attention that no layer has are refused when the layer is built."""

import pytest
import torch

from weft.architectures.spec import AttentionSpec, Causal, QKNorm, RMSNorm
from weft.errors import DescriptionError
from weft.layers.attention import SelfAttention
from weft.layers.context import LayerContext


def test_a_norm_of_each_head_after_the_rotation_is_refused():
    norm = QKNorm(norm=RMSNorm(eps=1e-6), scope="each_head", after_rotation=True)
    spec = AttentionSpec(num_heads=4, num_kv_heads=2, head_dim=8, scale=1.0, positions=None, mask=Causal(),
                         qk_norm=norm)

    with pytest.raises(DescriptionError, match=r"QKNorm\.scope = 'each_head': expected 'head' or 'all'"):
        SelfAttention(spec, 32, context=LayerContext(torch.float32))
