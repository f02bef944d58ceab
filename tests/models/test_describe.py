"""From a resolved config to a spec, by weft's families or a user's file."""

import pytest
from descriptions import description_of

from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError

CONFIG = {"architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
          "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 512}
MINE = '''
from weft.architectures.llama import llama
from weft.architectures.registry import architecture

@architecture("MineForCausalLM", "LlamaForCausalLM")
def mine(c):
    """Mine."""
    c.int("my_key", default=0)
    return llama(c)
'''


def model(model_file=None, **changes):
    return ModelConfig(name="m", path="/models/m", architecture="", hf_config=CONFIG | changes, dtype="float32",
                       max_model_len=8, is_max_model_len_fixed=True, vocab_size=100, eos_token_ids=(),
                       config_source="/models/m/config.json",
                       model_file=None if model_file is None else str(model_file))


def test_a_known_architecture_becomes_its_spec(caplog):
    spec, reader = description_of(model())

    assert (spec.hidden_size, len(spec.blocks)) == (32, 2)
    assert reader.values_read()["hidden_size"] == (32, "/models/m/config.json")
    assert caplog.text == ""


def test_the_first_known_of_several_names_counts():
    assert len(description_of(model(architectures=["Unknown", "LlamaForCausalLM"]))[0].blocks) == 2


def test_an_unknown_architecture_is_an_error_with_the_nearest_names():
    with pytest.raises(ConfigError, match=r"Nearest: LlamaForCausalLM.*--model-file"):
        description_of(model(architectures=["LamaForCausalLM"]))


def test_keys_that_nothing_read_are_warned_of_once_with_their_values(caplog):
    description_of(model(secret_scale=3.5, other_key="x"))

    assert len(caplog.records) == 1
    assert "other_key = 'x', secret_scale = 3.5" in caplog.text


def test_a_model_file_adds_architectures_and_wins_over_wefts_own(tmp_path, caplog):
    (tmp_path / "mine.py").write_text(MINE)

    assert len(description_of(model(tmp_path / "mine.py", architectures=["MineForCausalLM"]))[0].blocks) == 2
    _, reader = description_of(model(tmp_path / "mine.py", my_key=4))

    assert "my_key" in reader.values_read()
    assert caplog.text == ""


@pytest.mark.parametrize(("text", "said"), [
    ("def f(:", "SyntaxError"), ("import no_such_module", "no_such_module"), ("1 / 0", "ZeroDivisionError"),
    ("x = 1", '@architecture("Name")'),
])
def test_a_model_file_that_is_no_use_is_an_error_that_says_why(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(text)

    with pytest.raises(ConfigError, match=r"^model_file = ") as caught:
        description_of(model(tmp_path / "mine.py"))

    assert said in str(caught.value)


def test_a_model_file_has_to_be_called_py(tmp_path):
    (tmp_path / "mine.txt").write_text(MINE)

    with pytest.raises(ConfigError, match=r"ends in \.py"):
        description_of(model(tmp_path / "mine.txt"))
