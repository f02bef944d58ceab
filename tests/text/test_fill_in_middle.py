"""A prompt for filling in the middle has the special tokens of the tokenizer's vocabulary, in the order it knows."""

from __future__ import annotations

import pytest
from tokenizer_kinds import byte_level, llama2
from transformers import PreTrainedTokenizerBase

from weft.errors import RequestError
from weft.text.fill_in_middle import VOCABULARIES, FillInMiddle
from weft.text.tokenizer import Tokenizer


def with_tokens(hf: PreTrainedTokenizerBase, *names: str) -> Tokenizer:
    hf.add_tokens(list(names), special_tokens=True)
    return Tokenizer(hf)


def spelled(tokenizer: Tokenizer, before: str, after: str, **options) -> str:
    found = FillInMiddle(tokenizer).prompt(before, after, **{"add_special_tokens": False} | options)
    return tokenizer.decode(found.token_ids, skip_special_tokens=False)


@pytest.mark.parametrize("row", VOCABULARIES, ids=lambda row: row.before)
def test_each_vocabulary_makes_its_own_prompt(row):
    tokenizer = with_tokens(byte_level(), *row.names, *row.ends)

    text = spelled(tokenizer, "The quick ", " jumps")

    first, last = f"{row.before}The quick ", f"{row.after} jumps"
    assert text == (last + first if row.after_first else first + last) + row.middle
    assert FillInMiddle(tokenizer).prompt("a", "b", add_special_tokens=False).stop_token_ids == [
        tokenizer.source.convert_tokens_to_ids(name) for name in row.ends]


def test_a_side_may_be_empty():
    tokenizer = with_tokens(byte_level(), "<fim_prefix>", "<fim_suffix>", "<fim_middle>")

    assert spelled(tokenizer, "", "dog") == "<fim_prefix><fim_suffix>dog<fim_middle>"


def test_the_text_behind_the_gap_gets_no_space_that_the_tokenizer_puts_before_texts():
    tokenizer = with_tokens(llama2(), "▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>")

    found = FillInMiddle(tokenizer).prompt("The", "quick", add_special_tokens=False).token_ids
    behind = found[found.index(tokenizer.source.convert_tokens_to_ids("▁<SUF>")) + 1 : -1]

    assert "".join(tokenizer.source.convert_ids_to_tokens(behind)) == "quick"


def test_a_tokenizer_that_begins_texts_with_a_token_begins_the_prompt_with_it():
    from tokenizers.processors import TemplateProcessing

    hf = byte_level()
    hf.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|bos|> $A <|eos|>", special_tokens=[("<|bos|>", hf.bos_token_id), ("<|eos|>", hf.eos_token_id)])
    tokenizer = with_tokens(hf, "<fim_prefix>", "<fim_suffix>", "<fim_middle>")

    assert spelled(tokenizer, "a", "b", add_special_tokens=True) == "<|bos|><fim_prefix>a<fim_suffix>b<fim_middle>"


def test_a_vocabulary_without_such_tokens_is_named():
    with pytest.raises(RequestError, match=r"suffix = 'b'.*no tokens for filling in the middle"):
        FillInMiddle(with_tokens(byte_level(), "<fim_prefix>")).prompt("a", "b", add_special_tokens=True)
