"""A tokenizer.json read as it stands gives what transformers gives, in every setting of the files beside it."""

import json
import logging

import pytest
from tokenizer_kinds import KINDS
from tokenizers import Tokenizer as Backend
from tokenizers.processors import TemplateProcessing

from weft.config.engine_config import TokenizerConfig
from weft.text.backend_tokenizer import BackendTokenizer
from weft.text.plain_tokenizer import read_plain
from weft.text.tokenizer import load_tokenizer

TEXTS = ("Hello <think> é two words\n\n you'll  see 123<|eos|> 你", " dog</s> dog", "<|bos|>dog [SEP] <a> <call>x<b>",
         "", "\ud7ff😀 do n't . <tool>", "<image> <mask>")
TOOL = {"content": "<tool>", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False,
        "special": False}
TYPED = {"__type": "AddedToken", "content": "<typed>", "lstrip": False, "normalized": True, "rstrip": True,
         "single_word": False}
SETTINGS = {       # changes to tokenizer_config.json
    "nothing": {},
    "more special tokens": {"extra_special_tokens": ["<call>", "dog"]},
    "their older name": {"additional_special_tokens": ["<call>"]},
    "the model's own names": {"image_token": "<image>", "extra_special_tokens": {"call_token": "<call>"}},
    "added tokens": {"added_tokens_decoder": {"900": TOOL, "901": {**TOOL, "content": "<call>", "special": True}}},
    "added tokens that have names": {"added_tokens_decoder": {"900": TOOL}, "sep_token": "<tool>"},
    "a token with flags": {"pad_token": TYPED},
    "special tokens are text": {"split_special_tokens": True},
    "cleaned up": {"clean_up_tokenization_spaces": True},
    "cut on the left": {"truncation_side": "left", "padding_side": "left", "model_max_length": 4},
    "bos and eos asked for": {"add_bos_token": True, "add_eos_token": True},
    "several templates": {"chat_template": [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]},
}


def save(directory, kind, **changes):
    KINDS[kind]().save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    base = {"eos_token": None, "tokenizer_class": "TokenizersBackend"}
    path.write_text(json.dumps(base | json.loads(path.read_text()) | changes))
    return TokenizerConfig(path=str(directory))


def check(config, is_plain=True):
    """Everything that weft asks of a tokenizer is what transformers' object answers."""
    weft = load_tokenizer(config)
    assert isinstance(weft.source, BackendTokenizer) is is_plain
    ours, theirs = weft.source, weft.hf
    for text in TEXTS:
        for special in (True, False):
            ids = theirs.encode(text, add_special_tokens=special)
            assert weft.encode(text, add_special_tokens=special) == ids, text
            for skip in (True, False):
                assert weft.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip), text
                assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
                    ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False), text
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert sorted(ours.all_special_ids) == sorted(theirs.all_special_ids)
    assert ours.added_tokens_decoder == theirs.added_tokens_decoder
    assert [t.special for t in ours.added_tokens_decoder.values()] == [
        t.special for t in theirs.added_tokens_decoder.values()]
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert (ours.chat_template, ours.get_vocab()) == (theirs.chat_template, theirs.get_vocab())
    assert ours.clean_up_tokenization_spaces == theirs.clean_up_tokenization_spaces


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_setting_of_tokenizer_config_has_its_effect(tmp_path, kind, changes):
    check(save(tmp_path, kind, **changes))


@pytest.mark.parametrize("tokenizer_class", ["PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast",
                                             "GemmaTokenizerFast", "GPT2Tokenizer"])
def test_each_class_that_is_read_so_has_its_special_tokens(tmp_path, tokenizer_class):
    check(save(tmp_path, "llama2", tokenizer_class=tokenizer_class, pad_token="<unk>"))


def test_a_byte_level_tokenizer_json_of_a_llama_class_is_read_so(tmp_path):
    check(save(tmp_path, "byte_level", tokenizer_class="LlamaTokenizerFast", unk_token="<|eos|>"))


def test_a_beginning_padding_and_truncation_that_tokenizer_json_states(tmp_path):
    config = save(tmp_path, "llama2", tokenizer_class="LlamaTokenizer")
    stated = Backend.from_file(str(tmp_path / "tokenizer.json"))
    stated.post_processor = TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    stated.enable_padding(length=20, pad_id=0, pad_token="<unk>")
    stated.enable_truncation(3)
    stated.save(str(tmp_path / "tokenizer.json"))

    check(config)


def test_the_files_of_older_checkpoints(tmp_path):
    config = save(tmp_path, "llama2", tokenizer_class="LlamaTokenizer")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items()
                                if key not in ("eos_token", "bos_token", "unk_token", "added_tokens_decoder")}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({
        "bos_token": "<s>", "eos_token": {**TOOL, "content": "</s>"}, "unk_token": "<unk>", "pad_token": "<pad>",
        "additional_special_tokens": ["<call>"]}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<s>": 1, "</s>": 2}))

    check(config)


def test_templates_in_files_of_their_own(tmp_path):
    config = save(tmp_path, "byte_level", chat_template="config's")
    (tmp_path / "chat_template.jinja").write_text("own {{ messages }}")
    check(config)
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools {{ tools }}")
    check(config)


UNLIKE = {
    "a class with code of its own": ({"tokenizer_class": "BertTokenizer"}, "tokenizer_class is BertTokenizer"),
    "no class": ({"tokenizer_class": ""}, "tokenizer_class is not stated"),
    "code of the checkpoint": ({"auto_map": {"AutoTokenizer": [None, None]}}, "has auto_map"),
    "a switch of transformers": ({"fix_mistral_regex": True}, "has fix_mistral_regex"),
    "tokens that the class knows": ({"tokenizer_class": "GemmaTokenizer"}, "no file names unk_token, pad_token"),
    "a token in another form": ({"sep_token": {"token": "x"}}, "a special token is written in a way"),
}


@pytest.mark.parametrize(("changes", "reason"), UNLIKE.values(), ids=UNLIKE)
def test_what_only_transformers_understands_is_left_to_it(tmp_path, changes, reason):
    save(tmp_path, "byte_level", **changes)

    found = read_plain(tmp_path, lambda: None)

    assert isinstance(found, str) and reason in found


def test_a_tokenizer_that_transformers_loads_is_the_one_for_users_too_and_the_log_says_why(tmp_path, caplog):
    config = save(tmp_path, "word_piece", tokenizer_class="BertTokenizer")

    with caplog.at_level(logging.DEBUG, logger="weft"):
        tokenizer = load_tokenizer(config)

    assert "transformers loads the tokenizer, because tokenizer_class is BertTokenizer" in caplog.text
    assert tokenizer.hf is tokenizer.source and type(tokenizer.hf).__name__ == "BertTokenizer"


def test_added_tokens_of_an_older_file_alone_are_left_to_transformers(tmp_path, caplog):
    config = save(tmp_path, "byte_level")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items()
                                if key != "added_tokens_decoder"}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": 330}))

    with caplog.at_level(logging.DEBUG, logger="weft"):
        tokenizer = load_tokenizer(config)

    assert "added_tokens.json has '<new>'" in caplog.text
    assert tokenizer.decode(tokenizer.encode("a <new> dog")) == "a <new> dog"
