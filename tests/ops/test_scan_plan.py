"""A step of a scan never changes what it reads: sources, targets and sequences that begin, of every operator."""

from functools import partial

import pytest
import torch
from scans import in_place, kernels, levels, random

from weft.ops.causal_conv import CausalConvCase, choose_causal_conv
from weft.ops.gated_delta import GatedDeltaCase, choose_gated_delta
from weft.ops.mamba import MambaCase, MambaOptions, choose_mamba
from weft.ops.scan_plan import ScanPlan
from weft.ops.tape import Recording

ON = {"device": "cpu", "dtype": torch.float32}


def conv(isa):
    """(run(rows of x [T, 40], states, plan), shape of a state)."""
    case = CausalConvCase(**ON, kernel_size=4, act="silu", isa=isa)
    run = choose_causal_conv(case).kernel.prepare(random(40, 4, seed=1), random(40, seed=2))
    return lambda x, states, plan: run(x[:, :40], states, plan), (3, 40)


def gated_delta(isa, size=35):
    run = choose_gated_delta(GatedDeltaCase(**ON, key_dim=8, scale=1.0, normalises=True, isa=isa)).run
    decays, betas = -random(1, 2, seed=1).abs().repeat(8, 1), random(1, 2, seed=2).sigmoid().repeat(8, 1)

    def rows(x, states, plan):
        q, k = x[:, :8].unflatten(1, (1, 8)), x[:, 8:16].unflatten(1, (1, 8))
        v = x[:, 16 : 16 + 2 * size].unflatten(1, (2, size))
        return run(q, k, v, decays[: len(x)], betas[: len(x)], states, plan)

    return rows, (2, 8, size)


def mamba1(isa):
    case = MambaCase(**ON, state_size=6, options=MambaOptions(by_head=False), isa=isa)
    run = choose_mamba(case).kernel.prepare(-random(37, 6, seed=1).exp(), random(37, seed=2), None)
    return lambda x, states, plan: run(x[:, :37], x[:, 37:74], x[:, 74:80], x[:, 80:86], states, plan), (6, 37)


def mamba2(isa, size=35):
    case = MambaCase(**ON, state_size=6, options=MambaOptions(by_head=True), isa=isa)
    run = choose_mamba(case).kernel.prepare(-random(2, seed=1).exp(), random(2, seed=2), None)

    def rows(x, states, plan):
        groups, heads = x[:, 2:14].unflatten(1, (2, 1, 6)), x[:, 14 : 14 + 2 * size].unflatten(1, (2, size))
        return run(heads, x[:, :2], groups[:, 0], groups[:, 1], states, plan)

    return rows, (2, 6, size)


# States of whole vectors, at their alignment, go past the caches where one token writes another place than it reads.
OPERATORS = {"conv": conv, "gated_delta": gated_delta, "mamba1": mamba1, "mamba2": mamba2,
             "gated_delta, whole vectors": partial(gated_delta, size=64),
             "mamba2, whole vectors": partial(mamba2, size=64)}
operators = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
WIDTH = 144            # numbers of a row that the operators take theirs from


@kernels
@operators
def test_a_target_gets_what_advancing_in_place_gives_and_the_source_stays(operator, isa):
    run, shape = operator(isa)
    x, states = random(8, WIDTH), random(6, *shape, seed=3)
    before = states.clone()
    advanced = states.clone()
    expected = run(x, advanced, in_place([1, 5, 2], [0, 1, 2]))

    for _ in range(2):                                              # running the step again changes nothing
        out = run(x, states, ScanPlan(query_lens=(1, 5, 2), read_ids=(0, 1, 2), write_ids=(4, 3, 5)))

        assert torch.equal(out, expected)
        assert torch.equal(states[[4, 3, 5]], advanced[:3])
        assert torch.equal(states[:3], before[:3])


@kernels
@operators
def test_a_sequence_that_begins_reads_zeros_whatever_lies_in_its_target(operator, isa):
    run, shape = operator(isa)
    x, states = random(4, WIDTH), torch.full((3, *shape), torch.nan)
    zeros = torch.zeros(1, *shape)
    expected = run(x, zeros, in_place([4], [0]))

    out = run(x, states, ScanPlan(query_lens=(4,), read_ids=(None,), write_ids=(1,)))

    assert torch.equal(out, expected)
    assert torch.equal(states[1], zeros[0])
    assert states[[0, 2]].isnan().all()


@kernels
@operators
def test_several_sequences_go_on_from_one_state(operator, isa):
    run, shape = operator(isa)
    x, states = random(1, WIDTH).expand(2, -1).contiguous(), random(3, *shape, seed=3)

    out = run(x, states, ScanPlan(query_lens=(1, 1), read_ids=(0, 0), write_ids=(1, 2)))

    assert torch.equal(states[1], states[2])
    assert torch.equal(states[0], random(3, *shape, seed=3)[0])
    assert not torch.equal(states[1], states[0])
    assert torch.equal(out[0], out[1])


@kernels
@operators
def test_a_sequence_without_rows_hands_its_state_on(operator, isa):
    run, shape = operator(isa)
    states = random(4, *shape, seed=3)

    run(random(1, WIDTH), states, ScanPlan(query_lens=(0, 0, 1), read_ids=(0, None, 2), write_ids=(1, 3, 2)))

    assert torch.equal(states[1], states[0])
    assert torch.equal(states[3], torch.zeros(shape))


@levels
@operators
def test_a_recording_runs_with_the_plan_that_is_assigned_to_its_own(operator, isa):
    run, shape = operator(isa)
    x, states = random(2, WIDTH), random(6, *shape, seed=3)
    mine = ScanPlan(query_lens=(1, 1), read_ids=(0, 1), write_ids=(0, 1))
    recording = Recording(isa)
    with recording:
        result = run(x, states, mine)
    assert not recording.spoilers
    expected_states = states.clone()
    x.copy_(random(2, WIDTH, seed=9))
    other = ScanPlan(query_lens=(1, 1), read_ids=(2, None), write_ids=(5, 4))
    expected = run(x, expected_states, other)

    mine.assign(other)
    recording.replay()

    assert torch.equal(result, expected)
    assert torch.equal(states, expected_states)


@pytest.mark.parametrize(("reads", "writes", "message"), [
    ((4, 5), (4, 4), r"write_ids = \[4, 4\]: expected .* no two write_ids the same"),
    ((1, 2), (2, 3), r"read_ids = \[1, 2\], write_ids = \[2, 3\]: expected no state that one sequence writes"),
    ((1, 1), (1, 2), r"read_ids = \[1, 1\], write_ids = \[1, 2\]: expected no state that one sequence writes"),
    ((1,), (2, 3), r"expected one of each for each of 2 sequences"),
])
def test_a_plan_whose_result_would_hang_on_the_order_of_sequences_is_refused(reads, writes, message):
    with pytest.raises(ValueError, match=message):
        ScanPlan(query_lens=(1, 1), read_ids=reads, write_ids=writes)


@kernels
def test_ids_outside_of_the_states_are_refused(isa):
    run, shape = conv(isa)

    for reads, writes in (((0,), (2,)), ((2,), (0,)), ((-1,), (0,)), ((None,), (-1,))):
        with pytest.raises(ValueError, match="there are 2 states"):
            run(random(1, WIDTH), torch.zeros(2, *shape), ScanPlan(query_lens=(1,), read_ids=reads, write_ids=writes))
