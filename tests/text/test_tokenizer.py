"""The tokenizer: both ways, single tokens, and loading from a directory with errors that say what is missing."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_kinds import KINDS
from tokenizers import Tokenizer as Backend
from tokenizers import normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError, RequestError
from weft.text.tokenizer import Tokenizer, load_tokenizer


def save(directory, kind="byte_level", **changes):
    """A tokenizer's directory; `changes` are made to its tokenizer_config.json."""
    KINDS[kind]().save_pretrained(directory)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return TokenizerConfig(path=str(directory))


@settings(max_examples=200, deadline=None)
@given(token_ids=st.lists(st.integers(0, 319), max_size=40), skip=st.booleans())
def test_decoding_is_that_of_transformers(any_tokenizer, token_ids, skip):
    assert any_tokenizer.decode(token_ids, skip_special_tokens=skip) == any_tokenizer.hf.decode(
        token_ids, skip_special_tokens=skip)


def test_text_survives_the_way_to_ids_and_back(make_cached):
    for kind in ("byte_level", "llama2"):
        tokenizer = make_cached(kind)

        assert tokenizer.decode(tokenizer.encode("Hello  world\n你😀")) == "Hello  world\n你😀"


def test_a_lone_surrogate_is_refused_and_not_a_crash(make_cached):
    with pytest.raises(RequestError, match=r"prompt.*valid Unicode.*Character 1"):
        make_cached("byte_level").encode("a\ud800")


def test_special_tokens_are_added_only_when_asked(make):
    tokenizer = make("byte_level")
    tokenizer.hf.backend_tokenizer.post_processor = TemplateProcessing("<|bos|> $A", special_tokens=[("<|bos|>", 0)])

    assert tokenizer.encode("a")[0] == tokenizer.bos_token_id
    assert tokenizer.encode("a", add_special_tokens=False)[0] != tokenizer.bos_token_id


def test_the_vocabulary_reaches_to_the_last_added_token(make):
    tokenizer = make("byte_level")
    tokenizer.hf.add_tokens(["<tool>"])
    again = Tokenizer(tokenizer.hf)

    assert again.vocab_size == again.hf.convert_tokens_to_ids("<tool>") + 1
    assert again.token_text(again.vocab_size - 1) == "<tool>"


def test_special_ids_are_the_special_tokens_and_not_every_added_one(make_cached):
    tokenizer = make_cached("byte_level")

    assert tokenizer.special_ids == {tokenizer.bos_token_id, tokenizer.eos_token_id}


def test_the_text_of_one_token_keeps_its_space(make_cached):
    for kind in ("byte_level", "llama2", "word_piece"):
        tokenizer = make_cached(kind)
        token_id = tokenizer.encode("the dog", add_special_tokens=False)[-1]

        assert tokenizer.token_text(token_id) in (" dog", "og", "g")
        assert tokenizer.decode(tokenizer.encode("the dog")).endswith(tokenizer.token_text(token_id))


def test_the_bytes_of_one_token_are_its_own_even_where_they_are_half_a_character(make_cached):
    byte_level, llama2 = make_cached("byte_level"), make_cached("llama2")
    half = next(i for i in range(byte_level.vocab_size) if byte_level.token_bytes(i) == b"\xe4")

    assert byte_level.token_text(half) == "�"
    assert llama2.token_bytes(llama2.hf.convert_tokens_to_ids("<0xE4>")) == b"\xe4"
    assert llama2.token_text(llama2.hf.convert_tokens_to_ids("<0x41>")) == "A"


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(make_cached):
    tokenizer = make_cached("byte_level")

    token_bytes = map(tokenizer.token_bytes, tokenizer.encode("Grüße 😀<|eos|>"))

    assert b"".join(token_bytes).decode() == "Grüße 😀<|eos|>"


def test_a_token_outside_the_vocabulary_is_empty(any_tokenizer):
    for token_id in (-1, any_tokenizer.vocab_size, 10**12):
        assert any_tokenizer.token_text(token_id) == ""
        assert any_tokenizer.token_bytes(token_id) == b""


@pytest.mark.parametrize("tokenizer_class", ["TokenizersBackend", "PreTrainedTokenizerFast", "Qwen2Tokenizer"])
def test_a_plain_tokenizer_and_its_chats_need_neither_transformers_nor_torch(tmp_path, tokenizer_class):
    config = save(tmp_path, tokenizer_class=tokenizer_class, chat_template="{{ messages[0].content }}")
    code = ("import sys; from weft.text.tokenizer import *; from weft.text.chat import make_renderer; "
            f"t = load_tokenizer(TokenizerConfig(path={config.path!r})); r = make_renderer(t); "
            "print(t.eos_token_id, t.decode(t.encode(r.render([{'role': 'user', 'content': 'Hi'}]))), "
            "{'torch', 'transformers'} & set(sys.modules))")

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["1", "Hi", "set()"]


SPACES = [normalizers.Replace(" ", "▁")]
PIPELINES = {       # normalizer, pre_tokenizer of a BPE with byte fallback
    "space in front": ([normalizers.Prepend("▁"), *SPACES], None),
    "no space in front": (SPACES, None),
    "compatibility forms": ([normalizers.NFKC(), normalizers.Prepend("▁"), *SPACES], None),
    "digits alone": ([normalizers.Prepend("▁"), *SPACES], pre_tokenizers.Digits(individual_digits=True)),
}


@pytest.mark.parametrize("tokenizer_class", ["LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer",
                                             "GemmaTokenizer", "CohereTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("pipeline", PIPELINES.values(), ids=PIPELINES)
def test_ids_are_those_that_tokenizer_json_states_whatever_class_is_named(tmp_path, tokenizer_class, pipeline):
    config = save(tmp_path, "llama2", tokenizer_class=tokenizer_class)
    stated = Backend.from_file(str(tmp_path / "tokenizer.json"))
    stated.normalizer, stated.pre_tokenizer = normalizers.Sequence(pipeline[0]), pipeline[1]
    stated.save(str(tmp_path / "tokenizer.json"))

    tokenizer = load_tokenizer(config)

    for text in ("Hello world", " Hello", "  Hello", "dog</s> dog", "dog</s>dog", "121 12", "he\uff4clo", "\n dog", ""):
        ids = stated.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text, add_special_tokens=False) == ids, text
        assert tokenizer.decode(ids) == stated.decode(ids), text


@pytest.mark.parametrize("tokenizer_class", ["LlamaTokenizer", "PreTrainedTokenizerFast"])
def test_the_beginning_that_tokenizer_json_states_is_added(tmp_path, tokenizer_class):
    config = save(tmp_path, "llama2", tokenizer_class=tokenizer_class)
    stated = Backend.from_file(str(tmp_path / "tokenizer.json"))
    stated.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    stated.save(str(tmp_path / "tokenizer.json"))

    assert load_tokenizer(config).encode("Hello") == stated.encode("Hello").ids


def test_tokens_that_only_the_config_adds_are_tokens(tmp_path):
    config = save(tmp_path, "llama2", tokenizer_class="LlamaTokenizer", extra_special_tokens=["<call>"])

    tokenizer = load_tokenizer(config)
    (token_id,) = tokenizer.hf.convert_tokens_to_ids(["<call>"])

    assert token_id in tokenizer.encode("Hello<call>dog") and token_id in tokenizer.special_ids
    assert token_id == Backend.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size()


@pytest.mark.parametrize("tokenizer_class", ["LlamaTokenizer", "GPT2TokenizerFast", None])
def test_other_classes_load_too(tmp_path, tokenizer_class):
    tokenizer = load_tokenizer(save(tmp_path, tokenizer_class=tokenizer_class))

    assert tokenizer.decode(tokenizer.encode("Hello world")) == "Hello world"


def test_the_loaded_tokenizer_has_the_chat_template_of_its_files_or_the_one_given(tmp_path):
    config = save(tmp_path, chat_template="own {{ messages }}")
    (tmp_path / "other.jinja").write_text("other {{ messages }}")

    given = TokenizerConfig(path=config.path, chat_template=str(tmp_path / "other.jinja"))

    assert load_tokenizer(config).chat_template == "own {{ messages }}"
    assert load_tokenizer(given).chat_template == "other {{ messages }}"


def test_a_directory_without_a_tokenizer_names_the_files_looked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer\.json, tokenizer\.model, vocab\.json\+merges\.txt.*"
                                          r"--tokenizer DIR.*skip_tokenizer_init"):
        load_tokenizer(TokenizerConfig(path=str(tmp_path)))


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.*no such directory"):
        load_tokenizer(TokenizerConfig(path=str(tmp_path / "nowhere")))


def test_no_directory_at_all_is_a_config_error():
    with pytest.raises(ConfigError, match="tokenizer = None"):
        load_tokenizer(TokenizerConfig(path=None))


def test_a_config_that_is_no_object_is_a_config_error(tmp_path):
    config = save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")

    with pytest.raises(ConfigError, match=r"tokenizer_config\.json = \[\].*expected a JSON object"):
        load_tokenizer(config)


def test_a_sentencepiece_model_alone_names_the_package_it_needs(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"tokenizer\.model needs another package: pip install sentencepiece"):
        load_tokenizer(TokenizerConfig(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file_is_a_config_error_with_the_cause(tmp_path, name):
    config = save(tmp_path)
    (tmp_path / name).write_text('{"version": ')

    with pytest.raises(ConfigError, match="directory with the files of a tokenizer") as caught:
        load_tokenizer(config)

    assert caught.value.__cause__ is not None
