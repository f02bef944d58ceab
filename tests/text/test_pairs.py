"""Two texts as one prompt: the form of each kind of tokenizer, and how texts that are too long are cut."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from word_tokenizer import SPECIAL, WORDS, save_word_tokenizer

from weft.config.engine_config import TokenizerConfig
from weft.text.pairs import encode_pair
from weft.text.tokenizer import Tokenizer, load_tokenizer

SHORT, LONG = "w1 w2", "w3 w4 w5 w6 w7 w8 w9"
FORMS = {
    "none": None,
    "BERT": processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "RoBERTa": processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
    "second first": processors.TemplateProcessing(
        single="$A", pair="$B:0 [SEP]:1 $A:1", special_tokens=[("[SEP]", 3)]),
    "in sequence": processors.Sequence([processors.ByteLevel(trim_offsets=True), processors.TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A [SEP] $B:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])]),
}


def both(form: str) -> tuple[Tokenizer, PreTrainedTokenizerFast]:
    """A tokenizer of whole words whose pairs have this form, as weft's and as that of Transformers."""
    backend = Backend(models.WordLevel({token: i for i, token in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if FORMS[form] is not None:
        backend.post_processor = FORMS[form]
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=["input_ids", "token_type_ids"])
    return Tokenizer(hf), hf


@pytest.mark.parametrize("add_special_tokens", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("limit", [None, 7, 8])
@pytest.mark.parametrize("form", FORMS)
def test_a_pair_is_cut_and_written_as_by_transformers(form, limit, side, add_special_tokens):
    found, hf = both(form)
    hf.truncation_side = side
    how = {} if limit is None else {"truncation": "longest_first", "max_length": limit}

    for pair in ((SHORT, LONG), (LONG, SHORT), (LONG, LONG)):
        wanted = hf(*pair, add_special_tokens=add_special_tokens, **how)
        assert encode_pair(found, *pair, add_special_tokens=add_special_tokens, max_len=limit,
                           from_left=side == "left") == (wanted["input_ids"], wanted["token_type_ids"]), pair


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_tokens_than_asked_for_are_kept_even_of_marks(limit):
    ids, types = encode_pair(both("BERT")[0], SHORT, LONG, max_len=limit)

    assert len(ids) == len(types) == limit


def test_two_long_texts_are_cut_without_what_is_cut_off(tmp_path):
    save_word_tokenizer(tmp_path)
    found, text = load_tokenizer(TokenizerConfig(path=str(tmp_path))), "w1 " * 40_000      # 22 million pairs of pieces

    assert encode_pair(found, text, text, max_len=20) == ([2, *[6] * 8, 3, *[6] * 9, 3], [0] * 10 + [1] * 10)
