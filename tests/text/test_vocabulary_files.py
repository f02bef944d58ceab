"""Tokenizers of mistral-common and of GGUF files are vocabularies for grammars, as those of transformers are."""

from __future__ import annotations

import json
import random

import mistral_kinds
import numpy as np
import pytest
from byte_grammars import next_ids
from gguf_vocabularies import entries, ids_of, scores_of, write
from tokenizer_kinds import byte_level, llama2

from weft.config.engine_config import TokenizerConfig
from weft.grammar.compiler import Compiler
from weft.grammar.read import read_constraint
from weft.structured_outputs import ReasoningPart, StructuredOutputsParams
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.tokenizer import load_tokenizer
from weft.text.vocabulary import vocabulary_of

SCHEMA = {"type": "object", "properties": {"the dog's name": {"type": "string", "maxLength": 12},
                                           "legs": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}},
          "required": ["the dog's name", "legs"], "additionalProperties": False}


def gguf_byte_level(directory):
    hf = byte_level()
    return write(directory / "m.gguf", ggml__model="gpt2", ggml__pre="gpt-2", **entries(hf), **ids_of(hf))


def gguf_sentencepiece(directory):
    hf = llama2()
    return write(directory / "m.gguf", ggml__model="llama", **entries(hf) | {"ggml__merges": None}, **ids_of(hf),
                 ggml__scores=scores_of(hf))


FILES = {"tekken": lambda path: mistral_kinds.write_tekken(path).parent,
         "sentencepiece": lambda path: mistral_kinds.write_sentencepiece(path).parent,
         "gguf byte-level": gguf_byte_level, "gguf sentencepiece": gguf_sentencepiece}


@pytest.fixture(scope="module", params=FILES)
def made(request, tmp_path_factory):
    """(tokenizer, its vocabulary)."""
    path = FILES[request.param](tmp_path_factory.mktemp("tokenizer"))
    tokenizer = load_tokenizer(TokenizerConfig(path=str(path)))
    return tokenizer, vocabulary_of(tokenizer, vocab_size=tokenizer.vocab_size + 5,
                                    eos_token_ids=[tokenizer.eos_token_id])


def test_the_bytes_of_tokens_joined_are_the_text_that_they_add(made):
    tokenizer, vocabulary = made
    tokens, rng = vocabulary.tokens(), random.Random(1)
    plain = [i for i, token in enumerate(tokens) if token and token.isascii() and i not in vocabulary.special_ids]
    face = [tokens.index(bytes([byte])) for byte in "😀".encode()]
    prompt = tokenizer.encode("Hello dog", add_special_tokens=False)

    for _ in range(20):
        ids = rng.choices(plain, k=12) + face + rng.choices(plain, k=3)
        stream = IncrementalDetokenizer(tokenizer, prompt)
        assert stream.push(ids) + stream.finish() == b"".join(tokens[i] for i in ids).decode("utf-8", "replace")


def test_an_answer_drawn_token_by_token_follows_its_schema(made):
    tokenizer, vocabulary = made
    compiled = Compiler(vocabulary).compile(read_constraint(StructuredOutputsParams(
        json=SCHEMA, disable_any_whitespace=True)))

    for seed in range(5):
        constraint, ids, rng = compiled.new(), list[int](), np.random.default_rng(seed)
        while not constraint.is_done and len(ids) < 200:
            allowed = next_ids(constraint)
            assert not allowed & (set(vocabulary.special_ids) - {tokenizer.eos_token_id})
            ids.append(int(rng.choice(sorted(allowed - {tokenizer.eos_token_id}))))
            constraint.accept(ids[-1])
        found = json.loads(b"".join(vocabulary.tokens()[i] for i in ids))
        assert found.keys() == set(SCHEMA["properties"]) and len(found["the dog's name"]) <= 12


def test_marks_of_reasoning_are_special_tokens(made):
    tokenizer, vocabulary = made
    special = {tokenizer.token_text(i): i for i in tokenizer.special_ids if i != tokenizer.eos_token_id}
    mark = next(text for text in sorted(special) if text.strip())
    constraint = Compiler(vocabulary).compile(read_constraint(StructuredOutputsParams(
        regex="[0-9]+", reasoning=ReasoningPart(starts=(mark,), ends=(mark,), is_optional=True))))

    assert special[mark] in next_ids(constraint)
    constraint.accept(special[mark])
    assert {special[mark], vocabulary.tokens().index(b"x")} <= next_ids(constraint)
