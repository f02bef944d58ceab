"""The sampler applies each sequence's own parameters to its own row, in the documented order."""

import math

import pytest
import torch
from isa_levels import native_levels

from weft.engine.process.messages import EngineRequest
from weft.engine.sample_row import SampleRow
from weft.engine.sampler import Sampled, Sampler
from weft.engine.sequence import Sequence
from weft.sampling_params import SamplingParams

LOGITS = [0.0, 1.0, 2.0, 3.0, 4.0]  # of a vocabulary of five
EOS = 4


def sequence(prompt=(0,), output=(), *, bad_words=(), forced=(), **params):
    params = {"temperature": 0.0, "max_tokens": 50, "seed": 1} | params
    return Sequence(
        EngineRequest(
            request_id="r",
            prompt_token_ids=list(prompt),
            output_token_ids=list(output),
            params=SamplingParams(**params),
            eos_token_ids=[EOS],
            arrival_time=0.0,
            bad_words_token_ids=[list(word) for word in bad_words],
            forced_token_ids=list(forced),
        )
    )


def of_every_kernel(answer):
    """What answer(isa), a list, is for each kernel: all say the same, log-probabilities but for rounding."""
    expected, *others = (answer(isa) for isa in ("reference", *native_levels()))
    for other in others:
        for one, two in zip(entries(expected), entries(other), strict=True):
            assert one[:-1] == two[:-1]
            assert one[-1] == pytest.approx(two[-1], abs=1e-5)
    return expected


def entries(results):
    """(token, error, ids, ranks, values) of Sampled or TokenLogprobs."""
    for result in results:
        reported = getattr(result, "logprobs", None) if isinstance(result, Sampled) else result
        lists = (reported.token_ids, reported.ranks, reported.logprobs) if reported else ([], [], [])
        yield (getattr(result, "token_id", None) if not getattr(result, "error", None) else None,
               getattr(result, "error", None), *lists)


def sample(*seqs, logits=LOGITS, rows=None, mode="raw_logprobs"):
    rows = [logits] * len(seqs) if rows is None else rows
    return of_every_kernel(lambda isa: Sampler(mode, isa).sample(torch.tensor(rows), [SampleRow(seq) for seq in seqs]))


def token(seq, **options):
    return sample(seq, **options)[0].token_id


def test_given_tokens_are_reported_instead_of_the_likeliest():
    [best, given, both] = sample(sequence(logprobs=4), sequence(logprob_token_ids=[2, 0]),
                                 sequence(logprob_token_ids=[4, 1], logprobs=2))
    numbers = dict(zip(best.logprobs.token_ids, zip(best.logprobs.logprobs, best.logprobs.ranks, strict=True),
                       strict=True))

    assert given.logprobs.token_ids == [4, 2, 0] and given.logprobs.ranks == [1, 3, 5]
    assert given.logprobs.logprobs[:2] == pytest.approx([numbers[4][0], numbers[2][0]])
    assert both.logprobs.token_ids == [4, 1]


def test_greedy_takes_the_likeliest_token():
    assert token(sequence()) == 4


def test_only_allowed_tokens_can_be_chosen():
    assert token(sequence(allowed_token_ids=[0, 2])) == 2


def test_a_bad_word_of_one_token_is_never_chosen():
    assert token(sequence(bad_words=[[4]])) == 3


def test_the_last_token_of_a_bad_word_is_masked_only_after_its_beginning():
    assert token(sequence(output=[2, 3], bad_words=[[2, 3, 4]])) == 3
    assert token(sequence(output=[3, 3], bad_words=[[2, 3, 4]])) == 4
    assert token(sequence(prompt=[2, 3], bad_words=[[2, 3, 4]])) == 4  # the prompt's words are the user's


def test_min_tokens_masks_end_of_text_and_stop_ids_until_reached():
    assert token(sequence(min_tokens=2, stop_token_ids=[3])) == 2
    assert token(sequence(output=[1, 1], min_tokens=2, stop_token_ids=[3])) == 4


def test_logit_bias_is_added():
    assert token(sequence(logit_bias={0: 5.0})) == 0
    assert token(sequence(logit_bias={4: -100})) == 3


def test_repetition_penalty_counts_prompt_and_output():
    assert token(sequence(prompt=[4], repetition_penalty=1.5)) == 3  # 4 / 1.5 < 3
    assert token(sequence(output=[4], repetition_penalty=1.5)) == 3
    assert token(sequence(prompt=[0], repetition_penalty=1.5)) == 4


def test_repetition_penalty_lowers_negative_logits_too():
    assert token(sequence(prompt=[1], repetition_penalty=3.0), logits=[-2.0, -1.0, -9.0, -9.0, -9.0]) == 0


def test_presence_and_frequency_penalties_count_output_only():
    assert token(sequence(prompt=[4, 4], presence_penalty=2.0, frequency_penalty=2.0)) == 4
    assert token(sequence(output=[4], presence_penalty=1.5)) == 3
    assert token(sequence(output=[4], frequency_penalty=0.9)) == 4  # once: 3.1
    assert token(sequence(output=[4, 4], frequency_penalty=0.9)) == 3  # twice: 2.2


def test_when_nothing_is_allowed_that_sequence_alone_has_an_error():
    good, bad = sample(sequence(), sequence(allowed_token_ids=[1], bad_words=[[1]]))

    assert good.token_id == 4 and good.error is None
    assert "no token is allowed" in bad.error


def test_nan_logits_are_that_sequences_error():
    good, bad = sample(sequence(), sequence(), rows=[LOGITS, [math.nan] * 5])

    assert good.error is None
    assert "not numbers" in bad.error


def test_a_seeded_draw_is_the_same_alone_and_in_company():
    def drawn(position):
        return sequence(output=[1] * position, temperature=1.0, seed=11)

    alone = [token(drawn(position)) for position in range(30)]
    company = [
        sample(sequence(), drawn(position), sequence(temperature=2.0, seed=3, top_k=2))[1].token_id
        for position in range(30)
    ]

    assert alone == company
    assert len(set(alone)) > 1


def test_temperature_sharpens_and_flattens():
    def share_of_best(temperature):
        draws = [token(sequence(output=[1] * i, max_tokens=500, temperature=temperature)) for i in range(300)]
        return draws.count(4) / len(draws)

    assert share_of_best(0.2) > 0.95  # exact: 0.993
    assert share_of_best(2.0) == pytest.approx(0.43, abs=0.12)  # exact: 0.429


def test_top_k_of_one_is_greedy_at_any_temperature():
    assert token(sequence(temperature=2.0, top_k=1)) == 4


def test_logprobs_hold_the_sampled_token_first_even_outside_the_top():
    entry = sample(sequence(logit_bias={0: 50.0}, logprobs=2))[0].logprobs
    total = math.log(sum(math.exp(x) for x in LOGITS))

    assert entry.token_ids == [0, 4, 3]
    assert entry.ranks == [5, 1, 2]
    assert entry.logprobs == pytest.approx([0 - total, 4 - total, 3 - total], abs=1e-5)


def test_a_sampled_token_among_the_top_is_not_listed_twice():
    entry = sample(sequence(logprobs=2))[0].logprobs

    assert entry.token_ids == [4, 3]
    assert entry.ranks == [1, 2]


def test_zero_logprobs_report_the_sampled_token_and_minus_one_the_vocabulary():
    few, all_of_them = sample(sequence(logprobs=0), sequence(logprobs=-1))

    assert few.logprobs.token_ids == [4]
    assert all_of_them.logprobs.token_ids == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("raw_logits", [2.0, 4.0]),
        ("processed_logits", [2.0, 1.0]),
        ("processed_logprobs", [math.log(x / sum(math.exp(v) for v in (0, 1, 2))) for x in (math.exp(2), math.exp(1))]),
    ],
)
def test_logprobs_mode_says_which_numbers_are_reported(mode, expected):
    entry = sample(sequence(logprobs=1 if mode == "raw_logits" else 2, allowed_token_ids=[0, 1, 2]), mode=mode)[
        0
    ].logprobs

    assert entry.token_ids[0] == 2
    assert entry.logprobs[:2] == pytest.approx(expected, abs=1e-5)


def test_prompt_logprobs_are_of_the_given_next_tokens():
    found = of_every_kernel(
        lambda isa: Sampler("raw_logprobs", isa).prompt_logprobs(torch.tensor([LOGITS, LOGITS]), [1, 4], 1))

    assert [e.token_ids for e in found] == [[1, 4], [4]]
    assert [e.ranks for e in found] == [[4, 1], [1]]


def test_one_nan_is_an_error_of_a_drawn_sequence_too():
    good, bad = sample(sequence(temperature=1.0, seed=3), sequence(temperature=1.0, logprobs=2),
                       rows=[LOGITS, [0.0, math.nan, 2.0, 3.0, 4.0]])

    assert good.error is None
    assert "not numbers" in bad.error and bad.logprobs is None


def test_raw_logprobs_are_of_the_logits_before_anything_changed_them():
    drawn, edited = sample(sequence(temperature=0.5, top_k=1, logprobs=5),
                           sequence(temperature=0.5, top_k=1, logit_bias={4: -100.0}, logprobs=5))

    raw = torch.log_softmax(torch.tensor(LOGITS), 0).flip(0).tolist()
    assert drawn.logprobs.logprobs == pytest.approx(raw, abs=1e-5)
    assert edited.token_id == 3
    assert sorted(edited.logprobs.logprobs) == pytest.approx(sorted(drawn.logprobs.logprobs), abs=1e-5)


def test_processed_logprobs_of_a_drawn_token_are_of_what_it_was_drawn_from():
    entry = sample(sequence(temperature=0.5, top_k=2, logprobs=2), mode="processed_logprobs")[0].logprobs

    assert dict(zip(entry.token_ids, entry.logprobs, strict=True)) == pytest.approx(
        {4: math.log(1 / (1 + math.exp(-2))), 3: math.log(1 / (1 + math.exp(2)))}, abs=1e-5)


def test_penalties_of_long_texts_count_each_token_once_or_as_often_as_it_was_drawn():
    seq = sequence(prompt=[0, 1, 1, 2] * 50, output=[3, 3, 4, 3], repetition_penalty=2.0, frequency_penalty=0.25,
                   presence_penalty=0.5, logprobs=5)

    entry = sample(seq, mode="processed_logits")[0].logprobs

    assert dict(zip(entry.token_ids, entry.logprobs, strict=True)) == {
        0: 0.0, 1: 0.5, 2: 1.0, 3: 1.5 - 0.75 - 0.5, 4: 2.0 - 0.25 - 0.5}


OPTIONS = {
    "greedy": {},
    "drawn": {"temperature": 1.0},
    "top-k": {"temperature": 1.5, "top_k": 3},
    "top-p": {"temperature": 1.5, "top_p": 0.8},
    "min-p": {"temperature": 1.5, "min_p": 0.05},
    "bad-words": {"bad_words": [[4], [3, 3], [0, 3, 2]]},
    "bad-words-drawn": {"temperature": 1.0, "bad_words": [[3, 4], [1, 4]]},
    "min-tokens": {"min_tokens": 3, "stop_token_ids": [3]},
    "repetition": {"repetition_penalty": 1.6},
    "frequency": {"frequency_penalty": 1.1},
    "presence": {"temperature": 0.7, "presence_penalty": 1.7},
    "bias": {"logit_bias": {0: 3.5, 4: -2.0}},
    "allowed": {"temperature": 1.0, "allowed_token_ids": [0, 1, 3]},
    "all": {"temperature": 1.2, "top_k": 4, "top_p": 0.95, "min_p": 0.01, "bad_words": [[3, 2]], "min_tokens": 4,
            "repetition_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.25, "logit_bias": {1: 1.5}},
}


@pytest.mark.parametrize("mode", ["raw_logprobs", "processed_logits"])
@pytest.mark.parametrize("isa", ["reference", *native_levels()])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_row_after_drafts_is_that_of_a_sequence_which_has_these_tokens(name, isa, mode):
    """Each option, for every row of a sequence with four drafts, beside rows of others: one at a time, bit for bit."""
    options = OPTIONS[name] | {"logprobs": 3, "seed": 9}
    drafts, logits = (3, 3, 0, 3), torch.randn(5, 5, generator=torch.Generator().manual_seed(2)) * 2
    rows = [SampleRow(sequence([0, 1], [1], **options), drafts[:count]) for count in range(5)]
    company = [SampleRow(sequence(temperature=1.0, seed=4, logprobs=1, frequency_penalty=0.5)),
               SampleRow(sequence(min_tokens=9), (1, 2))]

    sampler = Sampler(mode, isa)
    together = sampler.sample(torch.cat([logits[:1], logits, logits[:1]]), [company[0], *rows, company[1]])[1:-1]

    for count, found in enumerate(together):
        known = sequence([0, 1], [1, *drafts[:count]], **options)
        [alone] = sampler.sample(logits[count : count + 1].clone(), [SampleRow(known)])
        assert found == alone, f"after {count} drafts"


def test_a_forced_token_comes_whatever_the_logits_and_the_parameters_say():
    forced = [1, EOS]

    assert token(sequence(forced=forced, allowed_token_ids=[2], bad_words=[[1]])) == 1
    assert token(sequence(output=[1], forced=forced, min_tokens=9)) == EOS
    assert token(sequence(output=[1, EOS], forced=forced, bad_words=[[EOS]])) == 3
