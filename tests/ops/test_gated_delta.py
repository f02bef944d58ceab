"""The gated delta rule: Transformers' recurrent and chunked forms, and the same however sequences are cut."""

from functools import partial

import pytest
import torch
from scans import TOLERANCE, floats, in_chunks, in_place, kernels, levels, random
from transformers.models.qwen3_next.modeling_qwen3_next import (
    torch_chunk_gated_delta_rule,
    torch_recurrent_gated_delta_rule,
)

from weft.ops.gated_delta import GatedDeltaCase, choose_gated_delta
from weft.ops.gated_delta.chunked import gated_delta_chunked
from weft.ops.gated_delta.reference import gated_delta


def rule(isa, dtype, *, key_dim=36, normalises=True):
    choice = choose_gated_delta(GatedDeltaCase(device="cpu", dtype=dtype, key_dim=key_dim, scale=key_dim**-0.5,
                                               normalises=normalises, isa=isa))
    assert choice.name == ("chunked" if isa == "reference" else "native"), str(choice)
    return partial(gated_delta, scale=key_dim**-0.5, normalises=normalises) if isa == "reference" else choice.run


def inputs(tokens, dtype=torch.float32, *, key_heads=2, heads=6, key_dim=36, value_dim=45):
    """q, k, v as views of one packed row, decays and betas."""
    width = 2 * key_heads * key_dim + heads * value_dim
    packed = random(tokens, width + 3).to(dtype)[:, 3:]
    q, k, v = packed.split([key_heads * key_dim, key_heads * key_dim, heads * value_dim], dim=1)
    q, k, v = (x.unflatten(1, (-1, size)) for x, size in ((q, key_dim), (k, key_dim), (v, value_dim)))
    return [q, k, v, -random(tokens, heads, seed=1).abs(), torch.sigmoid(random(tokens, heads, seed=2))]


def states_of(count, *, heads=6, key_dim=36, value_dim=45):
    return random(count, heads, key_dim, value_dim, seed=5) / 4


@kernels
@pytest.mark.parametrize("theirs", [torch_recurrent_gated_delta_rule, torch_chunk_gated_delta_rule],
                         ids=["recurrent", "chunked"])
def test_a_sequence_is_what_transformers_computes(isa, theirs):
    q, k, v, decays, betas = inputs(70)
    states = states_of(1)

    expected, last = theirs(q[None], k[None], v[None], g=decays[None], beta=betas[None], initial_state=states.clone(),
                            output_final_state=True, use_qk_l2norm_in_kernel=True)
    out = rule(isa, torch.float32)(q, k, v, decays, betas, states, in_place([70], [0]))

    torch.testing.assert_close(out, expected[0], atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(states, last, atol=2e-5, rtol=2e-5)


@levels
@floats
@pytest.mark.parametrize("normalises", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"key_dim": 128, "value_dim": 128}, {"key_dim": 3, "value_dim": 1}], ids=str)
def test_the_native_kernel_is_the_definition_for_mixed_batches(isa, dtype, normalises, sizes):
    plan = in_place([1, 13, 0, 1, 5], [4, 0, 2, 1, 3])
    q, k, v, decays, betas = inputs(20, dtype, **sizes)
    if not normalises:
        q, k = q / 8, k / 8
    states, expected_states = states_of(5, **sizes), states_of(5, **sizes)
    options = {"key_dim": sizes.get("key_dim", 36), "normalises": normalises}

    out = rule(isa, dtype, **options)(q, k, v, decays, betas, states, plan)

    expected = rule("reference", dtype, **options)(q, k, v, decays, betas, expected_states, plan)
    assert out.dtype == dtype
    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    torch.testing.assert_close(states, expected_states, atol=2e-5, rtol=2e-5)


@levels
@floats
@pytest.mark.parametrize("cuts", [(1, 6, 3), (5, 0, 4)], ids=str)
def test_a_sequence_in_chunks_is_bitwise_the_whole_one(isa, dtype, cuts):
    lens, run = [6, 7, 5], rule(isa, dtype)
    tensors = inputs(18, dtype)
    whole_states, states = states_of(3), states_of(3)

    whole = run(*tensors, whole_states, in_place(lens, range(3)))
    parts = in_chunks(lambda inputs, states, plan: run(*inputs, states, plan), tensors, states, lens, cuts)

    assert torch.equal(parts, whole)
    assert torch.equal(states, whole_states)


@levels
def test_a_sequence_is_bitwise_the_same_alone_and_in_any_company(isa):
    lens, run = [3, 1, 9], rule(isa, torch.bfloat16)
    tensors, together = inputs(13, torch.bfloat16), states_of(3)
    out = run(*tensors, together, in_place(lens, range(3)))

    alone = states_of(3)
    own = run(*(x[4:] for x in tensors), alone, in_place([9], [2]))

    assert torch.equal(own, out[4:])
    assert torch.equal(alone[2], together[2])
    assert torch.equal(alone[:2], states_of(3)[:2])  # others' states are not touched


@levels
def test_states_that_do_not_fit_are_refused(isa):
    with pytest.raises(ValueError, match=r"states: torch.float32 \[1, 6, 36, 44\]"):
        rule(isa, torch.float32)(*inputs(2), states_of(1, value_dim=44), in_place([2], [0]))


def test_large_keys_are_left_to_torch():
    case = GatedDeltaCase(device="cpu", dtype=torch.float32, key_dim=257, scale=1.0, normalises=True, isa="portable")

    assert choose_gated_delta(case).name == "chunked"


@floats
@pytest.mark.parametrize("by_dimension", [False, True], ids=["decay of a head", "decay of each dimension"])
@pytest.mark.parametrize("lengths", [[1, 33, 0, 70, 5], [64], [1, 1]], ids=str)
def test_chunks_of_products_are_the_definition(dtype, by_dimension, lengths):
    plan = in_place(lengths, list(range(len(lengths))))
    q, k, v, decays, betas = inputs(sum(lengths), dtype, key_heads=6)
    if by_dimension:
        decays = -3 * random(sum(lengths), 6, 36, seed=3).abs()
    states, expected_states = states_of(len(lengths)), states_of(len(lengths))

    out = gated_delta_chunked(q, k, v, decays, betas, states, plan, scale=1 / 6, normalises=True)
    expected = gated_delta(q, k, v, decays, betas, expected_states, plan, scale=1 / 6, normalises=True)

    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    torch.testing.assert_close(states, expected_states, atol=2e-5, rtol=2e-5)


def test_the_native_kernel_refuses_decays_of_each_dimension():
    case = GatedDeltaCase(device="cpu", dtype=torch.float32, key_dim=16, scale=1.0, normalises=True, by_dimension=True,
                          isa="avx2")

    assert choose_gated_delta(case).name == "chunked"
