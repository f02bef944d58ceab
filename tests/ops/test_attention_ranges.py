"""Every kernel obeys every kind of key range, and each row of the native one keeps its bits in any company."""

from functools import cache

import numpy as np
import pytest
import torch
from attention_steps import NUM_BLOCKS, Sequences, stacked
from isa_levels import native_levels

from weft.errors import FieldError
from weft.ops.attention import AttentionParams, KeyRanges, attention_plan, cpu, matmul, ranges, reference, sdpa
from weft.ops.attention.by_piece import by_piece
from weft.ops.native import extension
from weft.ops.tape import Recording

NATIVE = {isa: cpu.make_run(isa) for isa in native_levels()}
KERNELS = {"sdpa": by_piece(sdpa.attend), "matmul": by_piece(matmul.attend)} | NATIVE
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}       # as in test_attention.py
LENGTHS = [540, 63, 1, 200, 80]                                                    # the first has two segments
SPANS = [[(10, 300), (500, 530)], [(0, 40), (50, 63)], [], [(190, 200)], [(3, 4), (60, 75)]]
PREFIXES = [400, 0, 1, 3, 64]


def some_keys(lens, ends, seqs):
    """Ranges without any rule: empty ones, ones of a single key, ones that begin in later segments than others."""
    at = ranges.places(lens, ends)
    length = np.repeat(ends, lens)
    first = (at * 7919) % length
    return KeyRanges(first, np.where(at % 5 == 0, first, np.minimum(first + (at * 104729) % 450 + 1, length)))


# name: (mask of a step, whether a prompt may be cut anywhere: no row sees keys that are cached after it)
MASKS = {
    "causal": (lambda lens, ends, seqs: ranges.causal(lens, ends), True),
    "window": (lambda lens, ends, seqs: ranges.sliding_window(lens, ends, 90), True),
    "bidirectional": (lambda lens, ends, seqs: ranges.bidirectional(lens, ends), False),
    "radius": (lambda lens, ends, seqs: ranges.bidirectional(lens, ends, 70), False),
    "chunked": (lambda lens, ends, seqs: ranges.chunked(lens, ends, 100), True),
    "prefix": (lambda lens, ends, seqs: ranges.prefix_lm(lens, ends, [PREFIXES[seq] for seq in seqs]), False),
    "spans": (lambda lens, ends, seqs: ranges.spans(lens, ends, [SPANS[seq] for seq in seqs]), False),
    "spans-and-window": (lambda lens, ends, seqs: ranges.spans(lens, ends, [SPANS[seq] for seq in seqs], 33), False),
    "any": (some_keys, False),
}
CASES = {
    "float32-odd-head": {"dtype": torch.float32, "head_dim": 20},
    "bfloat16": {"dtype": torch.bfloat16, "head_dim": 64},
    "bfloat16-head-80": {"dtype": torch.bfloat16, "head_dim": 80},
    "float16": {"dtype": torch.float16, "head_dim": 32},
    "int8-cache": {"dtype": torch.bfloat16, "head_dim": 64, "kv_dtype": torch.int8},
    "fp8-cache": {"dtype": torch.bfloat16, "head_dim": 32, "kv_dtype": torch.float8_e4m3fn},
}
PLAIN = AttentionParams(scale=0.125)
BIASED = AttentionParams(scale=0.125, bias_by_distance=torch.randn(6, 2 * 40 + 1, generator=torch.manual_seed(1)))
RICH = AttentionParams(scale=0.125, softcap=4.0, sinks=torch.linspace(-1, 3, 6), bias_by_distance=torch.randn(
    6, 2 * 530 + 1, generator=torch.manual_seed(2)))
CAPPED = AttentionParams(scale=0.125, softcap=4.0, bias_by_distance=RICH.bias_by_distance)
PARAMS = {"plain": PLAIN, "biased": BIASED, "capped": CAPPED, "rich": RICH}
KERNEL_CASES = [(kernel, case) for kernel in KERNELS for case in CASES
                if kernel in NATIVE or case in ("float32-odd-head", "bfloat16")]
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
each_native = pytest.mark.parametrize("kernel", NATIVE.values(), ids=NATIVE.keys())
each_mask = pytest.mark.parametrize("mask", MASKS)
each_case = pytest.mark.parametrize("case", CASES)


def sequences_of(case, lengths=LENGTHS, **options):
    return Sequences(lengths, heads=6, kv_heads=2, **CASES[case], **options)


def whole_step(order=range(len(LENGTHS))):
    """All sequences as one step, the one of a single token first."""
    return [(seq, 0, LENGTHS[seq]) for seq in sorted(order, key=lambda seq: LENGTHS[seq] > 1)]


def prompts_and_decodes():
    return [*([(seq, 0, length - 1)] for seq, length in enumerate(LENGTHS) if length > 1),
            [(seq, length - 1, length) for seq, length in enumerate(LENGTHS)]]


@cache
def defined(case, mask, params, decodes=False):
    """The reference's rows of all sequences."""
    steps = prompts_and_decodes() if decodes else [whole_step()]
    return sequences_of(case).run(reference.run, steps, PARAMS[params], mask=MASKS[mask][0])


def compare(kernel, case, mask, params="plain", decodes=False):
    """The kernel's rows of all sequences against the reference's."""
    steps = prompts_and_decodes() if decodes else [whole_step()]
    wanted = defined(case, mask, params, decodes)
    found = stacked(sequences_of(case).run(kernel, steps, PARAMS[params], mask=MASKS[mask][0]), wanted)
    expected = stacked(wanted, wanted)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[found.dtype], rtol=TOLERANCE[found.dtype])
    return found


@each_mask
@pytest.mark.parametrize(("kernel", "case"), KERNEL_CASES)
def test_a_kernel_gives_what_the_reference_gives(kernel, case, mask):
    compare(KERNELS[kernel], case, mask)


@pytest.mark.parametrize("mask", ["causal", "bidirectional", "any"])
@pytest.mark.parametrize(("kernel", "case"), [pair for pair in KERNEL_CASES if pair[0] != "sdpa"])
def test_softcap_and_bias_come_before_the_mask(kernel, case, mask):
    compare(KERNELS[kernel], case, mask, "rich" if kernel in NATIVE else "capped")


@pytest.mark.parametrize("mask", ["causal", "window", "bidirectional", "any"])
@each_kernel
def test_a_bias_by_distance_is_added_with_distances_clamped_to_its_ends(kernel, mask):
    biased = compare(kernel, "float32-odd-head", mask, "biased")

    assert (biased - compare(kernel, "float32-odd-head", mask)).abs().max() > 0.1


@pytest.mark.parametrize("mask", ["chunked", "any", "window"])
@each_kernel
def test_decodes_with_ranges_are_what_the_reference_makes_of_them(kernel, mask):
    compare(kernel, "float32-odd-head", mask, "biased", decodes=True)


@each_kernel
def test_a_query_that_sees_no_key_gets_zeros(kernel):
    sequences = sequences_of("float32-odd-head", [40, 1, 1])

    def no_key_for_some(lens, ends, seqs):
        at = ranges.places(lens, ends)
        return KeyRanges(np.where(at % 2 == 0, 7, 0), np.where(at % 2 == 0, 7, at + 1))

    for params in (PLAIN, AttentionParams(scale=0.125, sinks=torch.linspace(-1, 3, 6))):
        if params.sinks is not None and kernel not in NATIVE.values():
            continue
        out = sequences.run(kernel, [[(1, 0, 1), (2, 0, 1), (0, 0, 40)]], params, mask=no_key_for_some)

        assert all((rows == 0).all() == (at % 2 == 0) for (_, at), rows in out.items())


@each_kernel
def test_blocks_that_nobody_sees_need_not_be_there(kernel):
    sequences = sequences_of("float32-odd-head", [130])
    sequences.tables[0][:6] = [-1] * 6                             # tokens 0 to 95, of chunks that are over

    steps = [[(0, 96, 129)], [(0, 129, 130)]]

    out, wanted = (sequences.run(run, steps, PLAIN, mask=lambda lens, ends, _: ranges.chunked(lens, ends, 48))
                   for run in (kernel, reference.run))

    torch.testing.assert_close(stacked(out, wanted), stacked(wanted, wanted), atol=2e-5, rtol=2e-5)


# ---- cross attention ------------------------------------------------------------------------------------------------

ENCODED, DECODED = [70, 600, 33, 1], [1, 1, 20, 3]               # keys and queries of four sequences


def cross_plan(sequences, query_lens, *, writes):
    width = max(len(table) for table in sequences.tables)
    table = np.array([blocks + [-1] * (width - len(blocks)) for blocks in sequences.tables])
    slots = [row[p // 16] * 16 + p % 16 for row, n in zip(table, ENCODED, strict=True) for p in range(n)]
    return attention_plan(query_lens=query_lens, seq_lens=ENCODED, num_decodes=2, table=table, block_size=16,
                          slots=np.array(slots if writes else []), ranges=ranges.cross(query_lens, ENCODED))


@each_case
@each_kernel
def test_cross_attention_sees_the_keys_of_an_encoder_that_an_earlier_step_cached(kernel, case):
    sequences = sequences_of(case, ENCODED)
    k, v = (torch.cat([tokens[part] for tokens in sequences.tokens]) for part in (1, 2))
    q = torch.randn(sum(DECODED), 6, sequences.head_dim, generator=torch.manual_seed(3)).to(sequences.dtype)
    results = []
    for run in (kernel, reference.run):
        caches = sequences.empty_caches()
        first = run(q, k, v, *caches, cross_plan(sequences, DECODED, writes=True), PLAIN)
        later = run(q[:4], None, None, *caches, cross_plan(sequences, [1, 1, 1, 1], writes=False), PLAIN)
        results.append((first, later))

    tolerance = TOLERANCE[q.dtype]
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
    if kernel in NATIVE.values():
        assert torch.equal(results[0][0][:3], results[0][1][:3])        # the first queries of three see the same keys


# ---- bits -----------------------------------------------------------------------------------------------------------

def alone(sequences, kernel, params, mask):
    out = {}
    for seq, length in enumerate(LENGTHS):
        out |= sequences.run(kernel, [[(seq, 0, length)]], params, mask=mask)
    return out


@pytest.mark.parametrize(("params", "mask", "case"), [
    *(("plain", mask, case) for mask in MASKS for case in CASES),
    *(("rich", mask, case) for mask in ("causal", "spans", "any") for case in ("float32-odd-head", "bfloat16"))])
@each_native
def test_in_company_each_row_gets_the_bits_that_it_gets_alone(kernel, case, mask, params):
    sequences, mask, params = sequences_of(case), MASKS[mask][0], PARAMS[params]
    together = sequences.run(kernel, [whole_step((3, 0, 4, 2, 1))], params, mask=mask)

    wanted = alone(sequences, kernel, params, mask)

    assert torch.equal(stacked(together, wanted), stacked(wanted, wanted))


@pytest.mark.parametrize(("size", "params"), [(31, "plain"), (100, "rich"), (5, "biased")])
@pytest.mark.parametrize("mask", [name for name, (_, may_be_cut) in MASKS.items() if may_be_cut])
@each_case
@each_native
def test_chunks_change_no_bit(kernel, case, mask, size, params):
    sequences, mask, params = sequences_of(case), MASKS[mask][0], PARAMS[params]
    steps = [[(seq, first, min(first + size, LENGTHS[seq]))]
             for seq in (0, 3, 4) for first in range(0, LENGTHS[seq], size)]
    chunked = sequences.run(kernel, steps, params, mask=mask)

    wanted = alone(sequences, kernel, params, mask)

    assert torch.equal(stacked(chunked, chunked), stacked(wanted, chunked))


@pytest.mark.parametrize("mask", ["prefix", "spans", "spans-and-window"])
@each_case
@each_native
def test_chunks_that_end_outside_of_prefixes_and_spans_change_no_bit(kernel, case, mask):
    sequences, mask = sequences_of(case), MASKS[mask][0]
    steps = [[(0, 0, 401)], [(0, 401, 402), (1, 0, 63)], [(0, 402, 540), (3, 0, 189)], [(3, 189, 200)]]
    if mask is not MASKS["prefix"][0]:
        steps = [[(0, 0, 310)], [(0, 310, 490), (1, 0, 45)], [(0, 490, 531), (1, 45, 63)], [(0, 531, 540), (3, 0, 190)],
                 [(3, 190, 200)]]
    chunked = sequences.run(kernel, steps, PLAIN, mask=mask)

    wanted = alone(sequences, kernel, PLAIN, mask)

    assert torch.equal(stacked(chunked, chunked), stacked(wanted, chunked))


@pytest.mark.parametrize("mask", ["causal", "window", "chunked"])
@each_case
@each_native
def test_a_decode_gets_what_its_position_gets_in_a_prompt(kernel, case, mask):
    sequences, mask = sequences_of(case), MASKS[mask][0]
    out = sequences.run(kernel, prompts_and_decodes(), BIASED, mask=mask)

    wanted = alone(sequences, kernel, BIASED, mask)

    last = [(seq, length - 1) for seq, length in enumerate(LENGTHS)]
    assert torch.equal(stacked(out, last), stacked(wanted, last))


@each_case
@each_native
def test_ranges_that_say_causal_give_the_bits_of_a_plan_without_ranges(kernel, case):
    sequences = sequences_of(case)
    for mask, window in (("causal", None), ("window", 90)):
        out = sequences.run(kernel, [whole_step()], PLAIN, mask=MASKS[mask][0])

        wanted = sequences.run(kernel, [whole_step()], PLAIN, window=window)

        assert torch.equal(stacked(out, wanted), stacked(wanted, wanted))


@each_case
@each_native
def test_decodes_share_the_blocks_of_a_prefix_where_all_of_them_see_it(kernel, case):
    lengths = [320 + n for n in (1, 30, 300, 17, 5)]
    sequences = sequences_of(case, lengths, shared=320)

    def mask(lens, ends, seqs):
        """Sequence 1 sees the last keys only, sequence 3 the first 200: three whole spans of 64."""
        found = ranges.causal(lens, ends)
        for row, seq in enumerate(np.repeat(seqs, lens)):
            found.first[row] = max(0, found.end[row] - 100) if seq == 1 else 0
            found.end[row] = min(found.end[row], 200) if seq == 3 else found.end[row]
        return found

    decodes = [(seq, length - 1, length) for seq, length in enumerate(lengths)]
    prompts = [[(0, 0, 320)]] + [[(seq, 320, length - 1)] for seq, length in enumerate(lengths) if length > 321]
    assert sequences.plan(decodes, mask=mask).prefixes.shared.tolist() == [3, 0, 3, 3, 3]

    out = sequences.run(kernel, [*prompts, decodes], PLAIN, mask=mask)

    for seq, length in enumerate(lengths):
        by_itself = sequences.run(kernel, [[(seq, 0, length)]], PLAIN, mask=mask)
        assert torch.equal(out[seq, length - 1], by_itself[seq, length - 1])


# ---- plans ----------------------------------------------------------------------------------------------------------

def drawn(found, num_keys):
    return ["".join("#" if first <= key < end else "." for key in range(num_keys))
            for first, end in zip(*found, strict=True)]


def test_each_kind_of_range_is_what_its_drawing_shows():
    six = [6], [6]
    assert drawn(ranges.causal(*six), 6) == ["#.....", "##....", "###...", "####..", "#####.", "######"]
    assert drawn(ranges.sliding_window(*six, 3), 6) == ["#.....", "##....", "###...", ".###..", "..###.", "...###"]
    assert drawn(ranges.bidirectional(*six), 6) == ["######"] * 6
    assert drawn(ranges.bidirectional(*six, 1), 6) == ["##....", "###...", ".###..", "..###.", "...###", "....##"]
    assert drawn(ranges.chunked(*six, 3), 6) == ["#.....", "##....", "###...", "...#..", "...##.", "...###"]
    assert drawn(ranges.prefix_lm(*six, [3]), 6) == ["###...", "###...", "###...", "####..", "#####.", "######"]
    assert drawn(ranges.spans(*six, [[(2, 5)]]), 6) == ["#.....", "##....", "#####.", "#####.", "#####.", "######"]
    assert drawn(ranges.spans(*six, [[(2, 5)]], 2), 6) == ["#.....", "##....", ".####.", "..###.", "..###.", "....##"]
    assert drawn(ranges.cross([6], [4]), 4) == ["####"] * 6


def test_a_chunk_of_several_sequences_counts_each_from_its_own_start():
    assert drawn(ranges.causal([2, 1], [4, 2]), 4) == ["###.", "####", "##.."]
    assert drawn(ranges.spans([2, 2], [4, 4], [[(0, 2)], [(2, 4)]]), 4) == ["###.", "####", "####", "####"]
    assert drawn(ranges.bidirectional([2, 1], [4, 2]), 4) == ["####", "####", "##.."]


def test_a_span_that_ends_after_the_chunk_is_refused_by_name():
    with pytest.raises(FieldError, match=r"seq_spans\[1\] = \(3, 9\): expected an end of at most 6, seq_lens\[1\]"):
        ranges.spans([2, 4], [2, 6], [[(0, 2)], [(3, 9)]])
    assert len(ranges.spans([2], [2], [[(3, 9)]]).first) == 2          # no query of the span is in this step


@pytest.mark.parametrize(("first", "end", "window", "message"), [
    ([0, 0], [1, 4], None, r"ranges\[1\] = \(0, 4\): expected keys within \[0, 3\)"),
    ([0, -1], [1, 2], None, r"ranges\[1\] = \(-1, 2\): expected keys within \[0, 3\)"),
    ([0], [1], None, r"ranges = .*expected two arrays of 2"),
    ([0, 0], [1, 2], 3, r"window = 3: expected None beside ranges"),
])
def test_a_plan_refuses_ranges_outside_of_its_sequences(first, end, window, message):
    with pytest.raises(FieldError, match=message):
        attention_plan(query_lens=[2], seq_lens=[3], num_decodes=0, slots=np.array([17, 18]), table=np.array([[1]]),
                       window=window, block_size=16, ranges=KeyRanges(np.array(first), np.array(end)))


@each_native
def test_a_recorded_step_reads_the_ranges_that_are_assigned_to_it(kernel):
    sequences, isa = sequences_of("bfloat16"), next(isa for isa, run in NATIVE.items() if run is kernel)
    caches, mask = sequences.empty_caches(), MASKS["chunked"][0]
    for seq in range(2):
        q, k, v = (x[: LENGTHS[seq] - 2] for x in sequences.tokens[seq])
        kernel(q, k, v, *caches, sequences.plan([(seq, 0, LENGTHS[seq] - 2)], mask=mask), PLAIN)

    def step(back):
        """The plan and tensors of the last tokens but one, then the last."""
        places = [(seq, LENGTHS[seq] - back - 1, LENGTHS[seq] - back) for seq in range(2)]
        return sequences.plan(places, mask=mask), [
            torch.cat([sequences.tokens[seq][part][first:end] for seq, first, end in places]) for part in range(3)]

    (plan, inputs), out = step(1), torch.empty(2, 6, 64, dtype=torch.bfloat16)
    with Recording(isa) as recording:
        kernel(*inputs, *caches, plan, PLAIN, out)
    later, new = step(0)
    for mine, x in zip(inputs, new, strict=True):
        mine.copy_(x)
    plan.native.assign(later.native)
    recording.replay()

    assert not recording.spoilers
    assert torch.equal(out, kernel(*new, *caches, later, PLAIN))


@pytest.mark.skipif(not NATIVE or not extension().checks, reason="weft was built without WEFT_CHECKS")
def test_debug_builds_refuse_a_block_that_a_range_needs():
    sequences = sequences_of("float32-odd-head", [40])
    sequences.tables[0][0] = NUM_BLOCKS

    with pytest.raises(IndexError, match=r"block_table\[0, 0\] = 400"):
        sequences.run(NATIVE["portable"], [[(0, 39, 40)]], PLAIN, mask=MASKS["bidirectional"][0])
