"""The engine's grammars get the bytes that a token adds to a text, whatever the tokenizer's decoder."""

from __future__ import annotations

import random

import pytest
from byte_grammars import next_ids
from tokenizer_kinds import KINDS

from weft.errors import NotBuiltError
from weft.grammar.compiler import Compiler
from weft.grammar.cutter import Cutter
from weft.grammar.read import read_constraint
from weft.structured_outputs import StructuredOutputsParams
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.tokenizer import Tokenizer
from weft.text.vocabulary import vocabulary_of

WITH_BYTES = ("byte_level", "llama2", "metaspace", "word_level")


def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(KINDS[kind]())


def vocabulary_and_tokens(kind: str):
    tokenizer = tokenizer_of(kind)
    vocabulary = vocabulary_of(tokenizer, vocab_size=tokenizer.vocab_size + 3, eos_token_ids=[1])
    return tokenizer, vocabulary, vocabulary.tokens()


@pytest.mark.parametrize("kind", WITH_BYTES)
def test_the_bytes_of_tokens_joined_are_the_text_that_they_add(kind):
    tokenizer, vocabulary, tokens = vocabulary_and_tokens(kind)
    plain = [i for i in range(tokenizer.vocab_size) if i not in vocabulary.special_ids and tokens[i].isascii()]
    face = [tokens.index(bytes([byte])) for byte in "😀".encode()] if kind == "llama2" else []
    prompt, rng = tokenizer.encode("Hello dog", add_special_tokens=False), random.Random(1)

    for _ in range(50):
        ids = rng.choices(plain, k=12) + face + rng.choices(plain, k=3)
        stream = IncrementalDetokenizer(tokenizer, prompt)
        shown = stream.push(ids) + stream.finish()
        assert shown == b"".join(tokens[i] for i in ids).decode("utf-8", "replace")


@pytest.mark.parametrize("kind", WITH_BYTES)
def test_ids_without_a_token_have_no_bytes_and_special_ones_are_named(kind):
    tokenizer, vocabulary, tokens = vocabulary_and_tokens(kind)

    assert vocabulary.num_tokens == tokenizer.vocab_size + 3 and tokens[-3:] == [b"", b"", b""]
    assert set(vocabulary.special_ids) == tokenizer.special_ids


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(WITH_BYTES)))
def test_a_tokenizer_whose_tokens_depend_on_their_neighbours_is_refused(kind):
    with pytest.raises(NotBuiltError, match="depends on their neighbours"):
        vocabulary_of(tokenizer_of(kind), vocab_size=10, eos_token_ids=[1])


@pytest.mark.parametrize("kind", ["byte_level", "metaspace"])
def test_forced_text_is_cut_as_the_tokenizer_cuts_it_inside_a_text(kind):
    tokenizer, vocabulary, tokens = vocabulary_and_tokens(kind)
    cutter = Cutter(vocabulary.pipeline, tokens, vocabulary.special_ids)

    for text in (" brown fox", " over the lazy dog"):
        assert cutter.cut(text) == tokenizer.encode("jumps" + text, add_special_tokens=False)[
            len(tokenizer.encode("jumps", add_special_tokens=False)):]


@pytest.mark.parametrize("kind", ["byte_level", "llama2", "metaspace"])
def test_forced_text_is_cut_into_tokens_with_just_its_bytes_and_no_special_ones(kind):
    _, vocabulary, tokens = vocabulary_and_tokens(kind)
    cutter = Cutter(vocabulary.pipeline, tokens, vocabulary.special_ids)

    assert cutter.cut(" brown fox")
    for text in ("brown", " <|eos|>", "</s> x", "naïve"):
        ids = cutter.cut(text)
        assert not ids or b"".join(tokens[i] for i in ids).decode() == text
        assert not vocabulary.special_ids or not set(ids) & set(vocabulary.special_ids)


@pytest.mark.parametrize("kind", ["byte_level", "llama2"])
def test_a_special_token_is_no_text_and_the_end_comes_only_after_a_whole_answer(kind):
    _, vocabulary, tokens = vocabulary_and_tokens(kind)
    constraint = Compiler(vocabulary).compile(read_constraint(StructuredOutputsParams(regex=r"[^x]{1,3}")))

    first = next_ids(constraint)
    constraint.accept(tokens.index(b"a"))

    assert not first & {*vocabulary.special_ids, 1} and not any(b"x" in tokens[i] or not tokens[i] for i in first)
    assert {tokens.index(b"e"), tokens.index(b" ")} <= first
    assert next_ids(constraint) & {*vocabulary.special_ids, 1} == {1}
