"""Memory of recordings goes from a tensor that died to the next one, and never to two at a time."""

import torch

from weft.ops.arena import Arena


def test_a_tensor_that_died_leaves_its_memory_to_the_next_that_fits():
    arena = Arena()
    x = arena.empty_like(torch.empty(100))
    at = x.data_ptr()
    del x

    y = arena.empty_like(torch.empty(3, 7, dtype=torch.bfloat16))

    assert y.data_ptr() == at and y.shape == (3, 7) and y.dtype == torch.bfloat16
    assert arena.num_bytes == 400


def test_a_view_keeps_the_memory_of_its_tensor():
    arena = Arena()
    view = arena.empty_like(torch.empty(10, 4))[3:, 1:2].t()
    view.fill_(7)

    other = arena.empty_like(torch.empty(10, 4)).fill_(0)

    assert view.tolist() == [[7.0] * 7]
    assert arena.num_bytes == 320 and other.data_ptr() % 64 == 0


def test_the_smallest_chunk_that_fits_is_taken():
    arena = Arena()
    large, small = arena.empty_like(torch.empty(1000)), arena.empty_like(torch.empty(10))
    at = small.data_ptr()
    del large, small

    assert arena.empty_like(torch.empty(9)).data_ptr() == at


def test_strides_are_kept():
    assert Arena().empty_like(torch.empty(4, 6).t()).stride() == (1, 6)
