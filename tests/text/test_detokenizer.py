"""Incremental decoding says exactly what decoding everything says, never half a character, and needs little memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.text.detokenizer import IncrementalDetokenizer

IDS = st.lists(st.integers(0, 319), max_size=40)


def stream(tokenizer, prompt_ids, pushes, **options):
    """The texts of the pushes, and of the finish after them."""
    detokenizer = IncrementalDetokenizer(tokenizer, prompt_ids, **options)
    return [detokenizer.push(push) for push in pushes], detokenizer.finish()


def one_by_one(token_ids):
    return [[token_id] for token_id in token_ids]


def byte_ids(tokenizer, data):
    """Tokens that each stand for one byte."""
    id_of = {tokenizer.token_bytes(i): i for i in reversed(range(tokenizer.vocab_size))}
    return [id_of[bytes((byte,))] for byte in data]


def beyond(before, everything):
    """`everything` without the beginning it shares with `before`."""
    same = 0
    while everything[:same + 1] == before[:same + 1] and same < len(everything):
        same += 1
    return everything[same:]


@settings(max_examples=300, deadline=None)
@given(token_ids=IDS, cut=st.integers(0, 40), sizes=st.lists(st.integers(0, 5), max_size=40), skip=st.booleans())
def test_pushes_and_finish_are_what_the_output_adds_to_the_prompt(any_tokenizer, token_ids, cut, sizes, skip):
    cut = min(cut, len(token_ids))
    pushes, rest = [], token_ids[cut:]
    for size in sizes:
        pushes, rest = [*pushes, rest[:size]], rest[size:]
    before = any_tokenizer.hf.decode(token_ids[:cut], skip_special_tokens=skip)
    everything = any_tokenizer.hf.decode(token_ids, skip_special_tokens=skip)

    texts, end = stream(any_tokenizer, token_ids[:cut], [*pushes, rest], skip_special_tokens=skip)

    assert "".join(texts) + end == beyond(before, everything)


@settings(max_examples=100, deadline=None)
@given(data=st.text(min_size=1, max_size=12), kind=st.sampled_from(["byte_level", "llama2"]))
def test_text_in_single_bytes_never_shows_half_a_character(make_cached, data, kind):
    tokenizer = make_cached(kind)

    texts, end = stream(tokenizer, tokenizer.encode("x"), one_by_one(byte_ids(tokenizer, data.encode())))

    assert "".join(texts) + end == data
    assert all(data.startswith("".join(texts[:i])) for i in range(len(texts)))


def test_byte_level_characters_come_out_as_soon_as_they_are_complete(make_cached):
    tokenizer = make_cached("byte_level")

    texts, end = stream(tokenizer, [], one_by_one(byte_ids(tokenizer, "a你😀b".encode())))

    assert texts == ["a", "", "", "你", "", "", "", "😀", "b"]
    assert end == ""


def test_a_run_of_byte_fallback_tokens_comes_out_when_it_ends(make_cached):
    tokenizer = make_cached("llama2")
    run, word = byte_ids(tokenizer, "你😀".encode()), tokenizer.encode("the", add_special_tokens=False)

    texts, end = stream(tokenizer, tokenizer.encode("dog"), [*one_by_one(run), word])

    assert texts == [""] * 7 + ["你😀 the"]
    assert end == ""


def test_bytes_that_never_become_a_character_are_replaced_at_the_finish(make_cached):
    for kind in ("byte_level", "llama2"):
        tokenizer = make_cached(kind)

        texts, end = stream(tokenizer, tokenizer.encode("x"), one_by_one(byte_ids(tokenizer, b"\xe4")))

        assert (texts, end) == ([""], "�")


def test_byte_level_bytes_are_replaced_as_soon_as_they_are_proved_invalid(make_cached):
    tokenizer = make_cached("byte_level")

    texts, end = stream(tokenizer, [], one_by_one(byte_ids(tokenizer, b"\x80\xe4\xbdA\xe4\xe4\xbd\xa0")))

    assert texts == ["�", "", "", "�A", "", "�", "", "你"]
    assert end == ""


def test_endless_invalid_bytes_do_not_pile_up(make_cached):
    tokenizer = make_cached("byte_level")

    texts, _ = stream(tokenizer, [], one_by_one(byte_ids(tokenizer, b"\x80" * 50)))

    assert texts == ["�"] * 50


def test_a_real_replacement_character_is_text_like_any_other(make_cached):
    tokenizer = make_cached("byte_level")

    texts, _ = stream(tokenizer, [], one_by_one(byte_ids(tokenizer, "�".encode())))

    assert texts == ["", "", "�"]


def test_a_character_begun_by_the_prompt_completes(make_cached):
    for kind in ("byte_level", "llama2"):
        tokenizer = make_cached(kind)
        start, last = byte_ids(tokenizer, b"\xe4\xbd"), byte_ids(tokenizer, b"\xa0")

        texts, end = stream(tokenizer, [*tokenizer.encode("x"), *start], [last])

        assert "".join(texts) + end == "你"


def test_a_character_that_the_prompt_left_broken_is_not_shown_again(make_cached):
    for kind in ("byte_level", "llama2"):
        tokenizer = make_cached(kind)
        broken, a = byte_ids(tokenizer, b"\xe4"), byte_ids(tokenizer, b"A")

        assert stream(tokenizer, broken, []) == ([], "")
        if kind == "byte_level":
            assert stream(tokenizer, broken, [a]) == (["A"], "")


@pytest.mark.parametrize("kind", ["llama2", "metaspace", "word_piece", "word_level"])
def test_the_first_generated_word_keeps_its_space(make_cached, kind):
    tokenizer = make_cached(kind)
    prompt, word = (tokenizer.encode(text, add_special_tokens=False) for text in ("Hello", "world"))

    texts, end = stream(tokenizer, prompt, one_by_one(word))

    assert "".join(texts) + end == " world"


@pytest.mark.parametrize("kind", ["llama2", "metaspace"])
def test_the_first_word_of_all_has_no_space(make_cached, kind):
    tokenizer = make_cached(kind)
    words = tokenizer.encode("Hello world", add_special_tokens=False)

    texts, end = stream(tokenizer, [tokenizer.eos_token_id], one_by_one(words))

    assert "".join(texts) + end == "Hello world"


def test_special_tokens_are_skipped_or_shown(make_cached):
    tokenizer = make_cached("byte_level")
    hello, eos = tokenizer.encode("Hello"), tokenizer.eos_token_id

    assert stream(tokenizer, [], [[*hello, eos]], skip_special_tokens=True) == (["Hello"], "")
    assert stream(tokenizer, [], [[*hello, eos]], skip_special_tokens=False) == (["Hello<|eos|>"], "")


def test_spaces_between_special_tokens_are_left_out_when_asked(make_cached):
    tokenizer = make_cached("word_piece")
    sep, (dog,) = tokenizer.hf.sep_token_id, tokenizer.encode("dog", add_special_tokens=False)
    token_ids, options = [dog, sep, sep, dog], {"skip_special_tokens": False}

    spaced, _ = stream(tokenizer, [], [token_ids], **options)
    close, _ = stream(tokenizer, [], one_by_one(token_ids), spaces_between_special_tokens=False, **options)

    assert spaced == ["dog [SEP] [SEP] dog"]
    assert close == ["dog", " [SEP]", "[SEP]", " dog"]
    assert tokenizer.decode(token_ids, spaces_between_special_tokens=False, **options) == "dog [SEP][SEP] dog"


def test_ids_outside_the_vocabulary_have_no_text(make_cached):
    tokenizer = make_cached("byte_level")

    texts, end = stream(tokenizer, [-1, 10**12], [[tokenizer.vocab_size], tokenizer.encode("a")])

    assert (texts, end) == (["", "a"], "")


@pytest.mark.parametrize("kind", ["byte_level", "llama2", "word_piece", "suffixed"])
def test_no_decode_looks_at_more_than_a_few_tokens(make, kind, monkeypatch):
    tokenizer = make(kind)
    words = tokenizer.encode("the quick brown fox jumps over the lazy dog " * 20, add_special_tokens=False)
    longest = 0
    decode = tokenizer.hf.decode

    def watched(token_ids, **options):
        nonlocal longest
        longest = max(longest, len(token_ids))
        return decode(token_ids, **options)

    monkeypatch.setattr(tokenizer.hf, "decode", watched)
    stream(tokenizer, words, one_by_one(words))

    assert longest <= 20
