"""The causal convolution: torch's on whole sequences, and the same however they are cut."""

import pytest
import torch
import torch.nn.functional as F
from scans import TOLERANCE, floats, in_chunks, in_place, kernels, levels, random

from weft.ops.causal_conv import CausalConvCase, choose_causal_conv


def conv(isa, dtype, *, channels=300, size=4, act="silu", bias=True):
    choice = choose_causal_conv(CausalConvCase(device="cpu", dtype=dtype, kernel_size=size, act=act, isa=isa))
    assert choice.name == ("torch" if isa == "reference" else "native"), str(choice)
    weight = random(channels, size, seed=1).to(dtype)
    return choice.prepare(weight, random(channels, seed=2).to(dtype) if bias else None)


@kernels
@floats
@pytest.mark.parametrize("act", ["silu", None])
@pytest.mark.parametrize(("size", "bias"), [(4, True), (2, False), (1, True)])
def test_a_whole_sequence_is_convolved_as_torch_does(isa, dtype, act, size, bias):
    x, states = random(9, 300).to(dtype), torch.zeros(1, size - 1, 300, dtype=dtype)
    weight, offset = random(300, size, seed=1).to(dtype), random(300, seed=2).to(dtype) if bias else None
    exact = F.conv1d(F.pad(x.t().double(), (size - 1, 0)), weight.double()[:, None],
                     None if offset is None else offset.double(), groups=300).t()

    out = conv(isa, dtype, size=size, act=act, bias=bias)(x, states, in_place([9], [0]))

    torch.testing.assert_close(out.double(), exact if act is None else F.silu(exact), atol=TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])
    assert torch.equal(states[0], x[9 - size + 1 :])


@levels
@floats
@pytest.mark.parametrize("cuts", [(1, 5, 3), (2, 0, 1), (0, 1, 4)], ids=str)
def test_a_sequence_in_chunks_is_bitwise_the_whole_one(isa, dtype, cuts):
    lens, run = [6, 7, 5], conv(isa, dtype)
    x = random(18, 300).to(dtype)
    whole_states, states = (torch.zeros(3, 3, 300, dtype=dtype) for _ in range(2))

    whole = run(x, whole_states, in_place(lens, range(3)))
    parts = in_chunks(lambda inputs, states, plan: run(*inputs, states, plan), [x], states, lens, cuts)

    assert torch.equal(parts, whole)
    assert torch.equal(states, whole_states)


@levels
@floats
def test_the_native_kernel_is_the_definition_for_mixed_batches(isa, dtype):
    wide = random(20, 700).to(dtype)
    x, plan = wide[:, 100:400], in_place([1, 12, 0, 1, 6], [7, 0, 2, 3, 5])
    states, expected_states = (random(8, 3, 300, seed=3).to(dtype) for _ in range(2))

    out = conv(isa, dtype)(x, states, plan)

    expected = conv("reference", dtype)(x, expected_states, plan)
    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    assert torch.equal(states, expected_states)


@levels
def test_states_that_do_not_fit_are_refused(isa):
    run = conv(isa, torch.float32)

    with pytest.raises(ValueError, match=r"expected contiguous \[B, 3, 300\]"):
        run(random(2, 300), torch.zeros(1, 4, 300), in_place([2], [0]))
    with pytest.raises(ValueError, match=r"write_ids = \[1\]: there are 1 states"):
        run(random(2, 300), torch.zeros(1, 3, 300), in_place([2], [1]))
    with pytest.raises(ValueError, match="3 rows, the sequences have 2"):
        run(random(3, 300), torch.zeros(1, 3, 300), in_place([2], [0]))
