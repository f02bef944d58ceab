"""The native sampler takes the tokens that the definition takes, and each row as if it were alone."""

import numpy as np
import pytest
import torch
from isa_levels import native_levels

from weft.ops.sampling import (
    EMPTY,
    GOOD,
    NO_NUMBERS,
    DrawSettings,
    SamplingCase,
    choose_sampling,
    filter_logits,
    uniforms,
)

levels = pytest.mark.parametrize("isa", native_levels())
# Of a probability: float32 weights, summed in float64.
TOLERANCE = 1e-6


def sampling(isa):
    choice = choose_sampling(SamplingCase(device="cpu", isa=isa))
    assert choice.name == ("torch" if isa == "reference" else "native")
    return choice.prepare()


def logits_of(rows, vocab, *, seed=0, spread=3.0):
    """Memory with gaps between the rows that must not be read."""
    memory = torch.full((rows, vocab + 5), torch.nan)
    memory[:, :vocab] = spread * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed))
    return memory[:, :vocab]


def settings(rows, *, temperature=1.0, min_p=0.0, top_p=1.0, top_k=0, seed=1):
    numbers = uniforms(np.full(rows, seed, dtype=np.uint64), np.arange(rows, dtype=np.uint64))
    return DrawSettings(
        temperatures=np.full(rows, temperature, dtype=np.float32), min_ps=np.full(rows, min_p, dtype=np.float32),
        top_ps=np.full(rows, top_p, dtype=np.float32), top_ks=np.full(rows, top_k, dtype=np.int64), numbers=numbers)


def filtered(isa, logits, **options):
    """The logits as the kernel draws from them, and the tokens."""
    logits = logits.clone()
    drawn = sampling(isa).draw(logits, settings(len(logits), **options), keep="processed")
    assert drawn.states.tolist() == [GOOD] * len(logits)
    return logits, drawn.tokens


@levels
@pytest.mark.parametrize("vocab", [1, 5, 64, 1000, 50021])
def test_greedy_takes_the_first_of_the_largest(isa, vocab):
    logits = logits_of(9, vocab).bfloat16().float()  # many ties

    drawn = sampling(isa).draw(logits, None)

    assert drawn.tokens.tolist() == [int((row == row.max()).nonzero()[0, 0]) for row in logits]


@levels
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_rows_without_a_token_are_told_apart(isa, temperature):
    logits = torch.zeros(5, 37)
    logits[1, 35], logits[2, 3], logits[3], logits[4, :36] = torch.nan, torch.inf, -torch.inf, -torch.inf

    drawn = sampling(isa).draw(logits, settings(5, temperature=temperature))

    assert drawn.states.tolist() == [GOOD, NO_NUMBERS, NO_NUMBERS, EMPTY, GOOD]
    assert drawn.tokens[4] == 36


@levels
@pytest.mark.parametrize("vocab", [1, 3, 5000, 50021])
@pytest.mark.parametrize(
    "options", [{}, {"top_k": 20}, {"top_p": 0.9}, {"min_p": 0.02, "top_k": 500, "top_p": 0.8}], ids=str)
def test_the_drawn_token_is_where_its_number_falls_in_the_cumulative_distribution(isa, vocab, options):
    rows = 60
    kept, tokens = filtered(isa, logits_of(rows, vocab), temperature=0.8, **options)
    cumulative = torch.softmax(kept.double(), -1).cumsum(-1)
    numbers = torch.from_numpy(settings(rows).numbers)

    upper = cumulative.gather(1, tokens[:, None])[:, 0]
    lower = upper - torch.softmax(kept.double(), -1).gather(1, tokens[:, None])[:, 0]
    assert torch.all((lower - TOLERANCE < numbers) & (numbers < upper + TOLERANCE))
    assert vocab < 100 or len(set(tokens.tolist())) > 1


@levels
@pytest.mark.parametrize("vocab", [5, 1000, 50021])
@pytest.mark.parametrize("top_k", [1, 2, 50, 3000])
def test_top_k_and_min_p_keep_exactly_what_the_definition_keeps(isa, vocab, top_k):
    logits = logits_of(4, vocab).bfloat16().float()  # ties at the threshold
    expected = filter_logits(logits / 0.7, min_p=torch.tensor([1e-4] * 4), top_k=torch.tensor([top_k] * 4),
                             top_p=torch.ones(4))

    kept, _ = filtered(isa, logits, temperature=0.7, top_k=top_k, min_p=1e-4)

    assert torch.equal(kept, expected)


@levels
@pytest.mark.parametrize("vocab", [5, 1000, 50021])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.95, 0.9999])
@pytest.mark.parametrize("spread", [0.001, 3.0, 20.0])
def test_top_p_keeps_the_smallest_set_that_reaches_p(isa, vocab, top_p, spread):
    logits = logits_of(3, vocab, spread=spread)
    probabilities = torch.softmax(logits.double(), -1)

    kept, _ = filtered(isa, logits, top_p=top_p)

    for row, chances in zip(kept, probabilities, strict=True):
        inside = row.isfinite()
        mass = chances[inside].sum()
        assert mass > top_p - TOLERANCE
        assert mass - chances[inside].min() < top_p + TOLERANCE
        assert chances[inside].min() >= chances[~inside].max() if (~inside).any() else True


@levels
def test_a_flat_row_keeps_all_its_equal_tokens(isa):
    kept, _ = filtered(isa, torch.ones(2, 4099), top_k=5, top_p=0.1)

    assert kept.isfinite().all()


@levels
def test_masked_tokens_are_never_drawn(isa):
    logits = torch.full((200, 999), -torch.inf)
    logits[:, [3, 500, 998]] = torch.tensor([1.0, 2.0, 0.5])

    drawn = sampling(isa).draw(logits, settings(200))

    assert set(drawn.tokens.tolist()) == {3, 500, 998}


@levels
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_bitwise_the_same_alone_and_in_any_company(isa, threads):
    logits, options = logits_of(17, 5003), {"temperature": 0.9, "top_k": 900, "top_p": 0.95, "min_p": 1e-5}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    kept, tokens = filtered(isa, logits, **options)
    whole = settings(17, **options)
    for i in range(17):
        alone = logits[i : i + 1].clone()
        own = DrawSettings(**{name: getattr(whole, name)[i : i + 1] for name in DrawSettings.__slots__})
        drawn = sampling(isa).draw(alone, own, keep="processed")

        assert torch.equal(alone[0], kept[i])
        assert drawn.tokens[0] == tokens[i]
    torch.set_num_threads(before)


@levels
@pytest.mark.parametrize("keep", ["raw", None])
def test_logits_stay_as_they_are_unless_what_was_drawn_from_is_wanted(isa, keep):
    logits = logits_of(2, 100)
    before = logits.clone()

    sampling(isa).draw(logits, settings(2, temperature=0.5, top_k=3), keep=keep)

    assert torch.equal(logits, before)


@levels
@pytest.mark.parametrize("as_logits", [False, True])
@pytest.mark.parametrize(("vocab", "num_best"), [(5, 0), (5, 5), (1000, 7), (50021, 20), (50021, 1000), (3000, 3000)])
def test_reported_values_and_ranks_are_the_definitions(isa, vocab, num_best, as_logits):
    logits, rows, chosen = logits_of(5, vocab), [4, 0, 2], torch.tensor([vocab - 1, 0, vocab // 2])

    found = sampling(isa).report(logits, rows, chosen, num_best, as_logits=as_logits)
    expected = sampling("reference").report(logits.double(), rows, chosen, num_best, as_logits=as_logits)

    assert found.ranks.tolist() == expected.ranks.tolist()
    torch.testing.assert_close(found.chosen.double(), expected.chosen, atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(found.best.double(), expected.best, atol=2e-6, rtol=1e-6)
    same = logits[rows].gather(1, expected.best_ids)  # all of a vocabulary is sorted by rounded log-probabilities
    torch.testing.assert_close(logits[rows].gather(1, found.best_ids), same, atol=4e-6, rtol=0)


@levels
def test_equally_likely_tokens_are_reported_in_the_order_of_their_ids(isa):
    logits = torch.tensor([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0, 0.0]])

    found = sampling(isa).report(logits, [0], torch.tensor([4]), 4, as_logits=True)

    assert found.best_ids.tolist() == [[1, 3, 2, 4]]
    assert found.ranks.tolist() == [3]


@levels
def test_the_reported_probability_of_a_masked_token_is_zero(isa):
    logits = torch.tensor([[0.0, -torch.inf, 0.0]])

    found = sampling(isa).report(logits, [0], torch.tensor([1]), 3, as_logits=False)

    assert found.chosen.tolist() == [-torch.inf]
    assert found.best[0].tolist() == pytest.approx([-0.6931472, -0.6931472, -np.inf])


EDITS = {
    "allow_only": lambda s, row: s.allow_only(row, [3, 900, 3, 0]),
    "forbid": lambda s, row: s.forbid(row, [1, 999, 7]),
    "add_bias": lambda s, row: s.add_bias(row, {5: -2.25, 17: 1.1, 999: 100}),
    "penalise": lambda s, row: s.penalise(row, [4, 4, 9, 30, 30, 31, 30, 4] * 9, 35, repetition=1.3, frequency=0.37,
                                          presence=-0.11),
    "penalise_output": lambda s, row: s.penalise(row, [4, 4, 9, 30], 2, repetition=1.0, frequency=0.37, presence=0.1),
    "penalise_prompt": lambda s, row: s.penalise(row, [4, 4, 9, 30], 4, repetition=0.7, frequency=2.0, presence=0.1),
}


@levels
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_requests_own_changes_are_bitwise_the_definitions(isa, edit):
    native, expected = logits_of(3, 1000), logits_of(3, 1000)
    kernel = sampling(isa)

    for row in range(3):  # the second time finds its memory as the first did
        edit(kernel, native[row])
        edit(sampling("reference"), expected[row])

    assert torch.equal(native, expected)


@pytest.mark.parametrize("isa", native_levels()[:1])
def test_a_token_id_outside_the_vocabulary_is_an_index_error(isa):
    row, kernel = torch.zeros(10), sampling(isa)

    for call in (lambda: kernel.forbid(row, [10]), lambda: kernel.allow_only(row, [-1]),
                 lambda: kernel.add_bias(row, {10: 1.0}),
                 lambda: kernel.penalise(row, [1, 10], 0, repetition=2.0, frequency=0.0, presence=0.0)):
        with pytest.raises(IndexError, match="the vocabulary has 10"):
            call()

    assert torch.equal(row, torch.zeros(10))
    with pytest.raises(IndexError, match="= 10: expected below 10"):
        kernel.report(torch.zeros(1, 10), [0], torch.tensor([10]), 1, as_logits=True)


@pytest.mark.parametrize("isa", native_levels()[:1])
@pytest.mark.parametrize("logits", [torch.zeros(2, 8).half(), torch.zeros(8, 2).t()], ids=["float16", "columns"])
def test_logits_of_another_kind_are_refused(isa, logits):
    with pytest.raises(ValueError, match="expected contiguous rows of float32"):
        sampling(isa).draw(logits, None)
    with pytest.raises(ValueError, match="expected contiguous rows of float32"):
        sampling(isa).report(logits, [0], torch.tensor([0]), 1, as_logits=True)
