"""The native kernel gives each row the same bits whatever else a step holds: batch, chunks, threads, shared blocks."""

import numpy as np
import pytest
import torch
from attention_steps import Sequences, stacked
from isa_levels import native_levels

from weft.ops.attention import AlibiBias, AttentionParams, alibi_slopes, cpu
from weft.ops.attention.shared_prefix import shared_prefixes

LENGTHS = [1100, 37, 600, 70, 1]
CASES = {
    "bfloat16": {"dtype": torch.bfloat16, "head_dim": 64},
    "float32-odd-head": {"dtype": torch.float32, "head_dim": 20},
    "float16": {"dtype": torch.float16, "head_dim": 32},
    "int8-cache": {"dtype": torch.bfloat16, "head_dim": 32, "kv_dtype": torch.int8},
    "fp8-cache": {"dtype": torch.bfloat16, "head_dim": 32, "kv_dtype": torch.float8_e4m3fn},
    "int8-cache-whole-tiles": {"dtype": torch.bfloat16, "head_dim": 64, "kv_dtype": torch.int8},
    "fp8-cache-whole-tiles": {"dtype": torch.bfloat16, "head_dim": 128, "kv_dtype": torch.float8_e4m3fn},
}
PLAIN = AttentionParams(scale=0.2)
RICH = AttentionParams(scale=0.2, softcap=4.0, alibi=AlibiBias(slopes=alibi_slopes(6)), sinks=torch.linspace(-1, 3, 6))
each_level = pytest.mark.parametrize("isa", native_levels())
each_case = pytest.mark.parametrize("case", CASES)
each_window = pytest.mark.parametrize("window", [None, 90], ids=lambda w: f"window-{w}")


def sequences_of(case, lengths=LENGTHS, **options):
    return Sequences(lengths, heads=6, kv_heads=2, **CASES[case], **options)


def in_chunks(length, size, start=0):
    return [(first, min(first + size, length)) for first in range(start, length, size)]


def alone(sequences, kernel, params, *, window=None, lengths=LENGTHS):
    """Each sequence by itself, its whole prompt in one step."""
    out = {}
    for seq, length in enumerate(lengths):
        out |= sequences.run(kernel, [[(seq, 0, length)]], params, window=window)
    return out


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads                                # the kernels use torch's pool
    torch.set_num_threads(before)


@each_window
@each_case
@each_level
def test_in_a_batch_each_gets_what_it_gets_alone(isa, case, window):
    sequences, kernel = sequences_of(case), cpu.make_run(isa)
    together = sequences.run(kernel, [[(seq, 0, LENGTHS[seq]) for seq in (4, 0, 1, 2, 3)]], PLAIN, window=window)

    wanted = alone(sequences, kernel, PLAIN, window=window)

    assert torch.equal(stacked(together, wanted), stacked(wanted, wanted))


@each_window
@pytest.mark.parametrize(("size", "params"), [(31, PLAIN), (100, RICH)], ids=["31-plain", "100-softcap-alibi-sinks"])
@each_case
@each_level
def test_chunks_change_no_bit(isa, case, size, params, window):
    sequences, kernel = sequences_of(case), cpu.make_run(isa)
    chunked = {}
    for seq in (0, 3):
        steps = [[(seq, *chunk)] for chunk in in_chunks(LENGTHS[seq], size)]
        chunked |= sequences.run(kernel, steps, params, window=window)

    wanted = alone(sequences, kernel, params, window=window)

    assert torch.equal(stacked(chunked, chunked), stacked(wanted, chunked))


@each_window
@each_case
@each_level
def test_a_decode_gets_what_its_position_gets_in_a_prompt(isa, case, window):
    sequences, kernel = sequences_of(case), cpu.make_run(isa)
    prompts = [[(seq, 0, length - 1)] for seq, length in enumerate(LENGTHS) if length > 1]
    decodes = [(seq, length - 1, length) for seq, length in enumerate(LENGTHS)]
    out = sequences.run(kernel, [*prompts, decodes], PLAIN, window=window)

    wanted = alone(sequences, kernel, PLAIN, window=window)

    last = [(seq, length - 1) for seq, length in enumerate(LENGTHS)]
    assert torch.equal(stacked(out, last), stacked(wanted, last))


@pytest.mark.parametrize("shared", [64, 320, 512, 592])
@each_case
@each_level
def test_decodes_that_share_blocks_get_what_they_get_alone(isa, case, shared):
    lengths = [shared + n for n in (1, 30, 700, 64, 17, 5, 90, 3)]
    sequences, kernel = sequences_of(case, lengths, shared=shared), cpu.make_run(isa)
    decodes = [(seq, length - 1, length) for seq, length in enumerate(lengths)]
    prefix = [(0, 0, shared)]
    prompts = [[(seq, shared, length - 1)] for seq, length in enumerate(lengths) if length - 1 > shared]
    plan = sequences.plan(decodes)
    assert plan.prefixes.shared.tolist() == [shared // 64] * 8

    out = sequences.run(kernel, [prefix, *prompts, decodes], PLAIN)

    wanted, last = alone(sequences, kernel, PLAIN, lengths=lengths), [(seq, n - 1) for seq, n in enumerate(lengths)]
    assert torch.equal(stacked(out, last), stacked(wanted, last))


@each_level
def test_one_thread_and_two_give_the_same_bits(isa, threads):
    sequences, kernel = sequences_of("bfloat16"), cpu.make_run(isa)
    prompts = [[(seq, 0, length - 1)] for seq, length in enumerate(LENGTHS) if length > 1]
    steps = [*prompts, [(seq, length - 1, length) for seq, length in enumerate(LENGTHS)]]
    results = []
    for number in (1, 2, 3):
        threads(number)
        results.append(sequences.run(kernel, steps, RICH))

    first = stacked(results[0], results[0])
    assert all(torch.equal(first, stacked(other, results[0])) for other in results[1:])


def tables(*rows):
    return np.array(rows, dtype=np.int32)


def test_prefixes_are_whole_spans_that_all_of_a_group_share():
    found = shared_prefixes(tables([*range(9), 20], [*range(9), 21], [*range(30, 40)]), [160, 150, 160], 4)

    assert found.members.tolist() == [0, 1] and found.starts.tolist() == [0, 2]
    assert found.spans.tolist() == [2] and found.shared.tolist() == [2, 2, 0, 0]


def test_a_group_parts_where_that_saves_more_reading():
    long = list(range(2, 18))
    found = shared_prefixes(
        tables([0, *long, 20], [0, *long, 21], [0, 1, *range(40, 56)], [0, 1, *range(60, 76)]), [300] * 4, 4)

    assert found.members.tolist() == [0, 1] and found.spans.tolist() == [4]


def test_nothing_is_shared_by_one_sequence_or_by_those_that_do_not_see_it_or_before_a_whole_span():
    same = tables([*range(9), 20], [*range(9), 21])

    assert shared_prefixes(same[:1], [160], 1).addresses == ()
    assert shared_prefixes(same, [160, 0], 2).addresses == ()
    assert shared_prefixes(tables([1, 2, 3, 4, 5], [1, 2, 3, 6, 7]), [80, 80], 2).addresses == ()
