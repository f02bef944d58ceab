"""A home takes its part of a whole tensor, as numbers or as codes, and refuses another shape."""

import pytest
import torch

from weft.errors import CheckpointError
from weft.layers.context import LayerContext
from weft.layers.layer import Home, Layer, allocate
from weft.layers.linear import Linear
from weft.layers.shard import Span, Spans
from weft.ops.quantized import quantize

WHOLE = torch.arange(48.0).view(6, 8)


def home(view, **spans):
    return Home(view, Layer(), "q.weight", **spans)


def test_a_whole_tensor_fills_a_home_of_all():
    view = torch.zeros(6, 8)

    home(view).fill(WHOLE)

    assert torch.equal(view, WHOLE)


def test_rows_and_columns_are_cut_out():
    rows, columns, both = torch.zeros(2, 8), torch.zeros(6, 4), torch.zeros(3, 2)

    home(rows, rows=Span(2, 4, 6)).fill(WHOLE)
    home(columns, columns=Span(4, 8, 8)).fill(WHOLE)
    home(both, rows=Span(3, 6, 6), columns=Span(2, 4, 8)).fill(WHOLE)

    assert torch.equal(rows, WHOLE[2:4])
    assert torch.equal(columns, WHOLE[:, 4:])
    assert torch.equal(both, WHOLE[3:, 2:4])


def test_rows_of_several_spans_lie_one_after_another():
    view = torch.zeros(3, 8)

    home(view, rows=Spans((Span(2, 4, 4), Span(1, 2, 2)))).fill(WHOLE)

    assert torch.equal(view, WHOLE[[2, 3, 5]])


def test_a_vector_has_rows_only():
    view = torch.zeros(2)

    home(view, rows=Span(2, 4, 6)).fill(torch.arange(6.0))

    assert view.tolist() == [2, 3]


@pytest.mark.parametrize(("tensor", "said"), [
    (torch.zeros(2, 8), r"Layer\.q\.weight: the checkpoint's tensor is \[2, 8\], the model has \[6, 8\]"),
    (torch.zeros(6, 8, 1), r"the checkpoint's tensor is \[6, 8, 1\]"),
    (torch.zeros(6, 8, dtype=torch.int8), r"the checkpoint's tensor is int8, expected floats of 16, 32 or 64 bits"),
    (torch.zeros(()), r"the checkpoint's tensor is \[\]"),
])
def test_another_shape_or_dtype_is_refused_and_nothing_is_copied(tensor, said):
    view = torch.full((2, 8), torch.nan, dtype=torch.bfloat16)

    with pytest.raises(CheckpointError, match=said):
        home(view, rows=Span(2, 4, 6)).fill(tensor)

    assert view.isnan().all()


def test_a_home_without_memory_is_refused_before_and_after():
    linear = Linear(8, {"q": 6}, bias=False, context=LayerContext(torch.float32))
    with pytest.raises(CheckpointError, match="the layer has no memory to load into"):
        linear.homes()["q.weight"].fill(WHOLE)

    allocate(linear, "cpu")
    linear.homes()["q.weight"].fill(WHOLE)
    linear.finish_loading()

    with pytest.raises(CheckpointError, match="packed for its kernel already"):
        linear.homes()["q.weight"].fill(WHOLE)


def test_the_same_parameter_under_two_names_is_one_place():
    layer, view = Layer(), torch.zeros(2)

    assert Home(view, layer, "weight").place == Home(view, layer, "weight").place
    assert Home(view, layer, "weight").place != Home(view, Layer(), "weight").place


def test_codes_are_cut_as_numbers_are():
    codes = quantize(torch.randn(6, 64, generator=torch.Generator().manual_seed(0)), "int4")

    part = home(torch.zeros(2, 32), rows=Span(2, 4, 6), columns=Span(32, 64, 64)).cut_codes(codes)

    assert torch.equal(part.dequantize(), codes.dequantize()[2:4, 32:])
    rows = home(torch.zeros(3, 64), rows=Spans((Span(0, 1, 2), Span(2, 4, 4)))).cut_codes(codes)
    assert torch.equal(rows.dequantize(), codes.dequantize()[[0, 4, 5]])
