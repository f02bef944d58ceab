"""The engine gets the bytes of the tokens once, before its first request with a form."""

from __future__ import annotations

from weft.config.engine_config import TokenizerConfig
from weft.frontend.vocabulary import EngineVocabulary
from weft.text.tokenizer import load_tokenizer


def test_the_vocabulary_is_read_when_it_is_needed_and_given_once(toy_tokenizer):
    vocabulary, tokenizer = EngineVocabulary(vocab_size=300, eos_token_ids=[256]), load_tokenizer(
        TokenizerConfig(path=str(toy_tokenizer)))

    assert vocabulary.take() is None
    vocabulary.read(tokenizer)
    vocabulary.read(tokenizer)
    found = vocabulary.take()

    assert found is not None and found.tokens()[97] == b"a" and found.num_tokens == 300
    assert vocabulary.take() is None
