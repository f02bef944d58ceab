"""`weft describe` finds descriptions of Transformers' classes, proves them, and keeps them for model_impl auto."""

import json

import pytest
import torch
import transformers

from weft.cli.main import main
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.discover.describe import class_and_defaults, find_description
from weft.discover.no_part import NoPartError
from weft.errors import ConfigError
from weft.models.build import build_model, layer_context
from weft.models.described import Described
from weft.models.found import kept_file
from weft.resolve.engine_config import resolve_engine_config

SIZES = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "max_position_embeddings": 128}

# A file of a checkpoint with a class of its own: Llama, under a name that nobody describes.
CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.mark.parametrize(("name", "more"), [
    ("Qwen2ForCausalLM", {}),
    ("GPTNeoXForCausalLM", {}),                              # fused products, both parts in parallel
    ("BertLMHeadModel", {"is_decoder": True}),               # norms after sums, a head with a transform
    ("DeepseekV3ForCausalLM", {"num_nextn_predict_layers": 0}),      # latent attention, experts in groups
])
def test_a_description_is_found_and_proven(name, more):
    cls, values = class_and_defaults(name)

    found = find_description(cls, values | more)

    assert found.is_proven, found.proof()
    assert f'@architecture("{name}")' in found.text
    assert len(found.text.splitlines()) < 75


def test_a_submodule_without_a_part_is_named(capsys):
    cls, values = class_and_defaults("RwkvForCausalLM")

    with pytest.raises(NoPartError, match=r"rwkv\.blocks\.0"):
        find_description(cls, values)
    assert main(["describe", "RwkvForCausalLM"]) == 1
    assert "rwkv.blocks.0" in capsys.readouterr().err


def test_a_name_that_is_no_class_is_one_error():
    with pytest.raises(ConfigError, match=r"NoSuchForCausalLM.*model class of Transformers"):
        class_and_defaults("NoSuchForCausalLM")


@pytest.fixture
def own_checkpoint(tmp_path, monkeypatch):
    """A checkpoint whose class comes with it, and a cache folder of its own."""
    monkeypatch.setenv("WEFT_CACHE_ROOT", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=False)
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "own.py").write_text(CODE)
    values = json.loads((folder / "config.json").read_text())
    values |= {"architectures": ["OwnForCausalLM"], "model_type": "own",
               "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}}
    del values["rms_norm_eps"]                    # the config class fills it in
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_a_proven_description_runs_the_class_that_nobody_described(own_checkpoint, capsys):
    args = EngineArgs(model=str(own_checkpoint), trust_remote_code=True, skip_tokenizer_init=True, load_format="dummy")

    def model():
        config = resolve_engine_config(args, Machine.detect())
        return build_model(config, layer_context(config), None)

    assert not isinstance(model(), Described)
    assert main(["describe", str(own_checkpoint), "--trust-remote-code"]) == 0
    assert isinstance(model(), Described)
    assert main(["inspect", str(own_checkpoint), "--trust-remote-code", "--skip-tokenizer-init"]) == 0
    assert "found and proved" in " ".join(capsys.readouterr().out.split())


def test_code_of_a_checkpoint_is_only_run_with_the_flag(own_checkpoint, capsys):
    assert main(["describe", str(own_checkpoint)]) == 1
    assert "trust" in capsys.readouterr().err


def test_a_description_belongs_to_one_source_of_its_class(monkeypatch):
    cls = class_and_defaults("Qwen2ForCausalLM")[0]
    before = kept_file(cls)
    monkeypatch.setattr("inspect.getsource", lambda module: "other code")

    assert kept_file(cls) != before
