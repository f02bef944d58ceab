"""`PerHead` multiplies each head by its own matrix, whatever the matrices' sizes."""

import pytest
import torch
from isa_levels import native_levels

from weft.layers.context import LayerContext
from weft.layers.layer import allocate
from weft.layers.per_head import PerHead
from weft.layers.shard import Span

HEADS = 4


# Four matrices of 16 rows have as many rows as one that a kernel has padded.
@pytest.mark.parametrize(("rows", "columns"), [(16, 32), (32, 16), (20, 24), (64, 48)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("isa", ["reference", *native_levels()])
def test_each_head_is_multiplied_by_its_own_matrix(isa, transposed, rows, columns):
    random = torch.Generator().manual_seed(0)
    layer = PerHead("v_b", Span(0, HEADS, HEADS), rows, columns, transposed=transposed,
                    context=LayerContext(torch.float32, isa=isa))
    allocate(layer, "cpu")
    weight = torch.randn(HEADS, rows, columns, generator=random)
    layer.weight.data.copy_(weight.flatten(0, 1))
    layer.finish_loading()
    x = torch.randn(5, HEADS, rows if transposed else columns, generator=random)

    out = layer(x, torch.empty(5, HEADS, columns if transposed else rows))

    wanted = torch.einsum("thk,hkn->thn" if transposed else "thk,hnk->thn", x, weight)
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)
