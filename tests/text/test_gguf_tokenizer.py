"""A tokenizer made of GGUF metadata gives the ids and texts of the tokenizer whose vocabulary was written there."""

from __future__ import annotations

import json
import logging

import pytest
from gguf_vocabularies import CONTROL, NORMAL, USER_DEFINED, entries, ids_of, scores_of, write
from tokenizer_kinds import LINES, byte_level, llama2
from tokenizers import AddedToken
from transformers import CohereTokenizer, GemmaTokenizer, GPT2Tokenizer, PreTrainedTokenizerFast, Qwen2Tokenizer

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError, NotBuiltError
from weft.resolve.gguf.tokens import END_TOKENS
from weft.text.gguf_words import WORD_RULES
from weft.text.tokenizer import Tokenizer, load_tokenizer

TEXTS = [
    "", " ", "Hello", " hello  world \n\n\tagain\r\n", "it's we'VE they'll I'm", "12345 3.14 1,000,000", "naïve café é",
    "你好世界😀", "a.b,c!d?e", "<|bos|>two words<think>", "x = {'a': [1, 2]};\n    return x", "ﬁ ﬀ½", *LINES[:2],
]


def load(path, **options) -> Tokenizer:
    return load_tokenizer(TokenizerConfig(path=str(path), **options))


def check_same(found: Tokenizer, hf: PreTrainedTokenizerFast) -> None:
    expected = Tokenizer(hf)
    for text in TEXTS:
        ids = expected.encode(text)
        assert found.encode(text) == ids, text
        assert found.decode(ids, skip_special_tokens=False) == expected.decode(ids, skip_special_tokens=False)
    assert found.eos_token_id == expected.eos_token_id
    assert found.special_ids == expected.special_ids


def test_byte_level_tokenizers_are_read_with_their_added_tokens(tmp_path):
    hf = byte_level()
    path = write(tmp_path / "m.gguf", ggml__model="gpt2", ggml__pre="gpt-2", **entries(hf), **ids_of(hf))

    check_same(load(path), hf)


def test_sentencepiece_tokenizers_are_read_by_their_scores(tmp_path):
    hf = llama2()
    keys = entries(hf) | {"ggml__merges": None}
    path = write(tmp_path / "m.gguf", ggml__model="llama", **keys, ggml__scores=scores_of(hf), **ids_of(hf),
                 ggml__add_bos_token=False)

    check_same(load(path), hf)


def test_sentencepiece_texts_begin_with_bos_unless_the_file_says_otherwise(tmp_path):
    hf = llama2()
    keys = entries(hf) | {"ggml__merges": None, "ggml__scores": scores_of(hf)}
    path = write(tmp_path / "m.gguf", ggml__model="llama", **keys, ggml__add_eos_token=True)

    found = load(path)

    assert found.encode("Hello") == [1, *hf.encode("Hello", add_special_tokens=False), 2]
    assert found.encode("Hello", add_special_tokens=False) == hf.encode("Hello", add_special_tokens=False)


def trained(rule: str, tmp_path, **keys) -> tuple[Tokenizer, dict, list]:
    """A tokenizer with the rule's words and byte_level's vocabulary; that vocabulary and its merges."""
    hf = byte_level()
    model = json.loads(hf.backend_tokenizer.to_str())["model"]
    path = write(tmp_path / "m.gguf", ggml__model="gpt2", ggml__pre=rule, **entries(hf), **ids_of(hf), **keys)
    return load(path), hf.get_vocab(), [tuple(merge) for merge in model["merges"]]


@pytest.mark.parametrize("rule, cls", [("gpt-2", GPT2Tokenizer), ("qwen2", Qwen2Tokenizer),
                                       ("command-r", CohereTokenizer)])
def test_words_are_cut_as_transformers_class_of_the_model_does(rule, cls, tmp_path):
    found, vocab, merges = trained(rule, tmp_path)
    expected = cls(vocab=vocab, merges=merges, unk_token=None, bos_token="<|bos|>", eos_token="<|eos|>",
                   pad_token="<|eos|>", cls_token=None, sep_token=None, mask_token=None, add_bos_token=False)
    expected.add_tokens([AddedToken("two words", normalized=False), AddedToken("é", normalized=False),
                         AddedToken("<think>", normalized=False)])

    for text in TEXTS:
        assert found.encode(text, add_special_tokens=False) == expected.encode(text, add_special_tokens=False), text


def test_gemmas_spaces_are_kept_and_no_space_is_put_in_front(tmp_path):
    hf = llama2()
    keys = entries(hf) | {"ggml__merges": None, "ggml__scores": scores_of(hf)}
    path = write(tmp_path / "m.gguf", ggml__model="llama", **keys, **ids_of(hf), ggml__add_space_prefix=False,
                 ggml__add_bos_token=True)
    model = json.loads(hf.backend_tokenizer.to_str())["model"]
    expected = GemmaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]],
                              unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>", mask_token=None)

    found = load(path)

    for text in TEXTS:
        ids = expected.encode(text, add_special_tokens=False)
        assert found.encode(text, add_special_tokens=False) == ids, text
        assert found.decode(ids, skip_special_tokens=False) == expected.decode(ids)
    assert found.encode("Hello")[0] == expected.bos_token_id


WORDS = {
    "llama-bpe": (" I'LL pay 12345 €!!\n\n  x", [" I", "'LL", " pay", " ", "123", "45", " €!!\n\n", " ", " x"]),
    "dbrx": ("a1234", ["a", "123", "4"]),
    "qwen2": ("a12", ["a", "1", "2"]),
    "refact": ("a12 b", ["a", "1", "2", " b"]),
    "falcon": ("1234567 a,b", ["123", "456", "7", " a", ",", "b"]),
    "bloom": ("Hi there, you", ["Hi", " there", ",", " you"]),
    "tekken": ("HelloWorld 12", ["Hello", "World", " ", "1", "2"]),
    "gpt-4o": ("don't HelloWorld 1234", ["don't", " Hello", "World", " ", "123", "4"]),
    "deepseek-v3": ("12345 你好abc", ["123", "45", " ", "你好", "abc"]),
    "deepseek-llm": (" ab\n12, x", [" ab", "\n", "1", "2", ",", " x"]),
    "deepseek-coder": (" ab\n12, x", [" ab", "\n", "1", "2", ",", " x"]),
    "seed-coder": ("it's 12!\n", ["it", "'s", " ", "1", "2", "!", "\n"]),
    "default": ("ab 12345, c", ["ab", " ", "123", "45", ",", " c"]),
}


@pytest.mark.parametrize("rule", WORDS)
def test_each_rule_cuts_its_example(rule):
    text, words = WORDS[rule]
    offsets = [span for _, span in WORD_RULES[rule].make().pre_tokenize_str(text)]

    assert [text[start:stop] for start, stop in offsets] == words


@pytest.mark.parametrize("rule", WORD_RULES)
def test_every_rule_keeps_every_character(rule, tmp_path):
    found, _, _ = trained(rule, tmp_path)

    for text in (text for text in TEXTS if "é" not in text):     # which this vocabulary spells as half a character
        composed = WORD_RULES[rule].normalizer()
        kept = text if composed is None else composed.normalize_str(text)
        assert found.decode(found.encode(text, add_special_tokens=False), skip_special_tokens=False) == kept


def test_llama_3_takes_whole_words_that_are_tokens_and_begins_with_bos(tmp_path):
    hf = byte_level()
    keys = entries(hf)
    keys["ggml__tokens"].append("Zq")           # no merge makes it
    keys["ggml__token_type"].append(int(NORMAL))
    whole = load(write(tmp_path / "a.gguf", ggml__model="gpt2", ggml__pre="llama-bpe", **keys, **ids_of(hf)))
    merged = load(write(tmp_path / "b.gguf", ggml__model="gpt2", ggml__pre="dbrx", **keys, **ids_of(hf)))

    assert whole.encode("Zq") == [hf.bos_token_id, len(keys["ggml__tokens"]) - 1]
    assert len(merged.encode("Zq")) == 2


def test_the_whole_tokenizer_json_is_taken_where_the_file_has_it(tmp_path):
    hf = byte_level()
    path = write(tmp_path / "m.gguf", ggml__model="gpt2", ggml__pre="unheard-of", **entries(hf), **ids_of(hf),
                 huggingface__json=hf.backend_tokenizer.to_str())

    check_same(load(path), hf)


def test_chat_templates_come_with_their_names(tmp_path):
    hf = byte_level()
    keys = {"ggml__model": "gpt2", "ggml__pre": "gpt-2", **entries(hf)}
    one = load(write(tmp_path / "a.gguf", **keys, chat_template="{{ 1 }}"))
    two = load(write(tmp_path / "b.gguf", **keys, chat_template="{{ 1 }}", chat_template__tool_use="{{ 2 }}"))
    none = load(write(tmp_path / "c.gguf", **keys))

    assert one.chat_templates == {"default": "{{ 1 }}"}
    assert two.chat_templates == {"default": "{{ 1 }}", "tool_use": "{{ 2 }}"}
    assert none.chat_templates == {}
    assert load(tmp_path / "a.gguf", chat_template="{{ 3 }}").chat_templates == {"default": "{{ 3 }}"}


def test_an_old_file_without_a_rule_is_read_with_a_warning(tmp_path, caplog):
    hf = byte_level()

    load(write(tmp_path / "m.gguf", ggml__model="gpt2", **entries(hf)))

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "tokenizer.ggml.pre is missing" in record.getMessage()


@pytest.mark.parametrize("number", [2**32 - 1, None], ids=["minus one", "the number of tokens"])
@pytest.mark.parametrize("name", ["bos", "eos", "unknown", "padding", "seperator", "mask"])
@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_an_id_that_no_token_has_means_none_and_is_warned_of(tmp_path, caplog, model, name, number):
    hf = byte_level() if model == "gpt2" else llama2()
    keys = {"ggml__pre": "gpt-2"} if model == "gpt2" else {"ggml__scores": scores_of(hf)}
    keys |= entries(hf) | ids_of(hf) | {f"ggml__{name}_token_id": number or len(entries(hf)["ggml__tokens"])}
    caplog.set_level(logging.WARNING)

    found = load(write(tmp_path / "m.gguf", ggml__model=model, **keys))

    word = {"unknown": "unk", "padding": "pad", "seperator": "sep"}.get(name, name)
    assert getattr(found.hf, f"{word}_token") is None
    assert found.decode(found.encode("Hello dog"), skip_special_tokens=True) == "Hello dog"
    assert [record.getMessage().count(f"tokenizer.ggml.{name}_token_id = ") for record in caplog.records] == [1]


@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED, NORMAL])
@pytest.mark.parametrize("token", sorted(END_TOKENS))
def test_a_token_that_ends_turns_is_a_control_token_whatever_the_file_says(tmp_path, token, kind):
    keys = entries(byte_level())
    keys["ggml__tokens"].append(token)
    keys["ggml__token_type"].append(int(kind))
    last = len(keys["ggml__tokens"]) - 1

    found = load(write(tmp_path / "m.gguf", ggml__model="gpt2", ggml__pre="gpt-2", **keys))

    assert found.encode(f"a{token}b")[1] == last
    assert last in found.special_ids


@pytest.mark.parametrize("change, error, said", [
    ({"ggml__tokens": None}, ConfigError, "tokenizer.ggml.tokens = None"),
    ({"ggml__model": None}, ConfigError, "tokenizer.ggml.model = None"),
    ({"ggml__model": "rwkv"}, NotBuiltError, "tokenizer.ggml.model = 'rwkv'.*expected gpt2, llama, bert or t5"),
    ({"ggml__pre": "foo"}, NotBuiltError, "tokenizer.ggml.pre = 'foo'.*expected one of default, gpt-2"),
    ({"ggml__merges": None}, ConfigError, "tokenizer.ggml.merges = None"),
    ({"ggml__merges": ["ab"]}, ConfigError, r"tokenizer.ggml.merges\[0\] = 'ab'"),
    ({"ggml__merges": ["a §"]}, ConfigError, "a GGUF file with a whole tokenizer"),
    ({"ggml__token_type": [1, 1]}, ConfigError, "tokenizer.ggml.token_type = '2 entries'"),
    ({"ggml__bos_token_id": "x"}, ConfigError, "tokenizer.ggml.bos_token_id = 'x'"),
    ({"chat_template": 3}, ConfigError, "tokenizer.chat_template = 3"),
    ({"ggml__model": "llama"}, ConfigError, "tokenizer.ggml.scores = None"),
    ({"ggml__model": "llama", "ggml__scores": [1.0]}, ConfigError, "tokenizer.ggml.scores = 'a list of 1'"),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else None)
def test_a_fault_is_an_error_that_names_the_key_and_the_file(tmp_path, change, error, said):
    keys = {"ggml__model": "gpt2", "ggml__pre": "gpt-2", **entries(byte_level())}
    path = write(tmp_path / "m.gguf", **(keys | change))

    with pytest.raises(error, match=said) as caught:
        load(path)

    assert str(path) in str(caught.value)
    assert "--tokenizer DIR" in str(caught.value)
