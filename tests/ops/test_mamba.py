"""Mamba's scans: Transformers' own, and the same however sequences are cut."""

import math

import pytest
import torch
from scans import TOLERANCE, floats, in_chunks, in_place, kernels, levels, random
from transformers.models.mamba.modeling_mamba import mamba_selective_scan
from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

from weft.ops.mamba import MambaCase, MambaOptions, choose_mamba

kinds = pytest.mark.parametrize("by_head", [False, True], ids=["mamba1", "mamba2"])
CHANNELS, HEADS, HEAD_DIM, GROUPS = 77, 6, 45, 2


def weights(by_head, states):
    """a, d, dt_bias."""
    shape = (HEADS,) if by_head else (CHANNELS, states)
    return -random(*shape, seed=1).exp(), random(shape[0], seed=2), random(shape[0], seed=3)


def scan(isa, dtype, by_head, *, states=16, softplus=True, dt_limits=(0.0, math.inf), extras=True):
    options = MambaOptions(by_head=by_head, softplus=softplus, dt_limits=dt_limits)
    choice = choose_mamba(MambaCase(device="cpu", dtype=dtype, state_size=states, options=options, isa=isa))
    assert choice.name == ("reference" if isa == "reference" else "native"), str(choice)
    a, d, dt_bias = weights(by_head, states)
    return choice.prepare(a, d if extras else None, dt_bias if extras else None)


def inputs(tokens, dtype, by_head, *, states=16):
    """x, dt, b, c as views of one packed row."""
    shapes = ([(HEADS, HEAD_DIM), (HEADS,), (GROUPS, states), (GROUPS, states)] if by_head
              else [(CHANNELS,), (CHANNELS,), (states,), (states,)])
    sizes = [math.prod(shape) for shape in shapes]
    packed = random(tokens, sum(sizes) + 5, seed=4).to(dtype)[:, 5:]
    return [part.unflatten(1, shape) if len(shape) > 1 else part
            for part, shape in zip(packed.split(sizes, dim=1), shapes, strict=True)]


def states_of(count, by_head, *, states=16):
    shape = (HEADS, states, HEAD_DIM) if by_head else (states, CHANNELS)
    return random(count, *shape, seed=5)


@kernels
def test_mamba1_is_what_transformers_computes(isa):
    x, dt, b, c = inputs(40, torch.float32, False)
    z, (a, d, dt_bias) = random(40, CHANNELS, seed=6), weights(False, 16)
    states = torch.zeros(1, 16, CHANNELS)

    expected, last = mamba_selective_scan(
        x.t()[None], dt.t()[None], a, b.t()[None], c.t()[None], d, z.t()[None], delta_bias=dt_bias,
        delta_softplus=True, return_last_state=True)
    out = scan(isa, torch.float32, False)(x, dt, b, c, states, in_place([40], [0]), z)

    torch.testing.assert_close(out, expected[0].t(), atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(states[0], last[0].t(), atol=2e-5, rtol=2e-5)


@kernels
def test_mamba2_is_what_transformers_computes(isa):
    x, dt, b, c = inputs(70, torch.float32, True, states=20)
    a, d, dt_bias = weights(True, 20)
    states = states_of(1, True, states=20)

    expected, last = mamba2_chunk_scan(
        x[None], dt[None], a, b[None], c[None], 16, D=d, dt_bias=dt_bias, dt_softplus=True, dt_limit=(0.01, 2.0),
        initial_states=states.transpose(2, 3).clone(), return_final_states=True)
    out = scan(isa, torch.float32, True, states=20, dt_limits=(0.01, 2.0))(x, dt, b, c, states, in_place([70], [0]))

    torch.testing.assert_close(out, expected[0], atol=1e-4, rtol=1e-4)  # their chunks are products of sums of decays
    torch.testing.assert_close(states, last.transpose(2, 3), atol=1e-4, rtol=1e-4)


@levels
@floats
@kinds
@pytest.mark.parametrize("states", [16, 128, 3])
@pytest.mark.parametrize("options", [{}, {"softplus": False, "dt_limits": (0.05, 0.9), "extras": False}],
                         ids=["usual", "bare"])
def test_the_native_kernel_is_the_definition_for_mixed_batches(isa, dtype, by_head, states, options):
    plan, tensors = in_place([1, 13, 0, 1, 5], [4, 0, 2, 1, 3]), inputs(20, dtype, by_head, states=states)
    ours, theirs = (states_of(5, by_head, states=states) for _ in range(2))

    out = scan(isa, dtype, by_head, states=states, **options)(*tensors, ours, plan)

    expected = scan("reference", dtype, by_head, states=states, **options)(*tensors, theirs, plan)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected, atol=4 * TOLERANCE[dtype], rtol=TOLERANCE[dtype])  # of results around ten
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


@levels
@floats
@kinds
@pytest.mark.parametrize("cuts", [(1, 6, 3), (5, 0, 4)], ids=str)
def test_a_sequence_in_chunks_is_bitwise_the_whole_one(isa, dtype, by_head, cuts):
    lens, run = [6, 7, 5], scan(isa, dtype, by_head)
    tensors = inputs(18, dtype, by_head)
    whole_states, states = states_of(3, by_head), states_of(3, by_head)

    whole = run(*tensors, whole_states, in_place(lens, range(3)))
    parts = in_chunks(lambda inputs, states, plan: run(*inputs, states, plan), tensors, states, lens, cuts)

    assert torch.equal(parts, whole)
    assert torch.equal(states, whole_states)


@levels
@kinds
def test_a_sequence_is_bitwise_the_same_alone_and_in_any_company(isa, by_head):
    lens, run = [3, 1, 9], scan(isa, torch.bfloat16, by_head)
    tensors, together = inputs(13, torch.bfloat16, by_head), states_of(3, by_head)
    out = run(*tensors, together, in_place(lens, range(3)))

    alone = states_of(3, by_head)
    own = run(*(x[4:] for x in tensors), alone, in_place([9], [2]))

    assert torch.equal(own, out[4:])
    assert torch.equal(alone[2], together[2])
    assert torch.equal(alone[:2], states_of(3, by_head)[:2])


@levels
def test_steps_far_from_zero_keep_their_softplus(isa):
    dt = torch.tensor([[-60.0, -20.0, -1.0, 0.0, 1.0, 15.0, 60.0] * 11])
    x, b, c, states = torch.ones(1, CHANNELS), torch.ones(1, 16), torch.ones(1, 16), torch.zeros(1, 16, CHANNELS)

    scan(isa, torch.float32, False, extras=False)(x, dt, b, c, states, in_place([1], [0]))  # h = softplus(dt)

    exact = torch.nn.functional.softplus(dt.double())
    torch.testing.assert_close(states[0].double(), exact.expand(16, -1), atol=0, rtol=5e-7)


@levels
@floats
def test_a_gate_by_head_multiplies_the_unrounded_result(isa, dtype):
    tensors, states, z = inputs(7, dtype, True), states_of(1, True), random(7, HEADS, HEAD_DIM, seed=6).to(dtype)
    ours, theirs = states.clone(), states.clone()

    out = scan(isa, dtype, True)(*tensors, ours, in_place([7], [0]), z)

    expected = scan("reference", dtype, True)(*tensors, theirs, in_place([7], [0]), z)
    torch.testing.assert_close(out, expected, atol=4 * TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@levels
def test_gates_and_states_that_do_not_fit_are_refused(isa):
    with pytest.raises(ValueError, match=r"z: \[2, 270\], expected \[2, 6, 45\]"):
        scan(isa, torch.float32, True)(*inputs(2, torch.float32, True), states_of(1, True), in_place([2], [0]),
                                       torch.ones(2, HEADS * HEAD_DIM))
    with pytest.raises(ValueError, match=r"states: torch.float32 \[1, 77, 16\]"):
        scan(isa, torch.float32, False)(*inputs(2, torch.float32, False), states_of(1, False).transpose(1, 2),
                                        in_place([2], [0]))
