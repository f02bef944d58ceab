"""A registered model runs wherever a config.json names its architecture: in this process and in the engine's own."""

import asyncio
import re

import pytest
from engine_answers import answer_here, answer_of_another_process
from programmed_llama import MyLlama
from tiny_llama import make_checkpoint

from weft import ModelRegistry, SamplingParams
from weft.architectures.llama import llama
from weft.architectures.registry import architecture
from weft.cli.main import main
from weft.errors import ConfigError

PROMPT = {"prompt_token_ids": [5, 9, 17, 3, 40]}
OPTIONS = {"dtype": "float32", "max_model_len": 64, "use_tqdm_on_load": False, "num_threads": 1}
PARAMS = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)


@architecture("Mine")
def mine(c):
    """Mine."""
    return llama(c)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return answer(make_checkpoint(tmp_path_factory.mktemp("llama")))


@pytest.fixture
def directory(tmp_path):
    return make_checkpoint(tmp_path / "model", architectures=["LazyForCausalLM"])


def answer(directory, **options):
    return answer_here(directory, PROMPT, PARAMS, **OPTIONS, **options)


@pytest.mark.parametrize("model", [
    MyLlama, mine, "lazy_models.one:Lazy", "lazy_models.one:described", "{}/one.py:Lazy",
], ids=["class", "description", "module:Class", "module:function", "file:Class"])
def test_in_this_process(directory, wanted, package, model):
    ModelRegistry.register_model("LazyForCausalLM", model.format(package) if isinstance(model, str) else model)

    assert answer(directory) == wanted


@pytest.mark.parametrize("model", [MyLlama, "lazy_models.one:described", "{}/one.py:Lazy"],
                         ids=["class", "module:function", "file:Class"])
def test_in_the_engines_process(directory, wanted, package, model):
    ModelRegistry.register_model("LazyForCausalLM", model.format(package) if isinstance(model, str) else model)

    assert asyncio.run(answer_of_another_process(directory, PROMPT, PARAMS, **OPTIONS)) == wanted


@pytest.mark.parametrize("option", [
    {"model_class": mine}, {"model_class": "lazy_models.one:described"}, {"model_file": "{}/one.py:described"},
], ids=["function", "module:function", "file:function"])
def test_an_option_may_name_a_description(directory, wanted, package, option):
    given = {name: value.format(package) if isinstance(value, str) else value for name, value in option.items()}

    assert answer(directory, **given) == wanted


@pytest.mark.parametrize(("model", "words"), [
    (mine, "described in test_registered_models.mine"), (MyLlama, "programmed in programmed_llama.MyLlama"),
], ids=["description", "class"])
def test_inspect_says_what_was_registered(directory, capsys, model, words):
    ModelRegistry.register_model("LazyForCausalLM", model)

    assert main(["inspect", str(directory), "--max-model-len", "64"]) == 0
    assert words in capsys.readouterr().out


def test_a_class_that_only_this_process_has_is_refused_by_the_engines_process(directory):
    class Local(MyLlama):
        pass

    ModelRegistry.register_model("LazyForCausalLM", Local)

    with pytest.raises(ConfigError, match=r"register_model = '.*Local' \(in LazyForCausalLM\): .*Put the class"):
        asyncio.run(answer_of_another_process(directory, PROMPT, PARAMS, **OPTIONS))


def test_a_registered_class_wins_over_the_family(tmp_path, wanted):
    seen = []

    class Seen(MyLlama):
        def compute_logits(self, hidden_states):
            seen.append(len(hidden_states))
            return super().compute_logits(hidden_states)

    ModelRegistry.register_model("LlamaForCausalLM", Seen)

    assert answer(make_checkpoint(tmp_path / "m")) == wanted and seen


def test_a_model_that_only_pools_does_not_generate(directory):
    pools = type("Pools", (MyLlama,), {"is_pooling_model": True, "pooler": None, "compute_logits": None})
    ModelRegistry.register_model("LazyForCausalLM", pools)

    with pytest.raises(ConfigError, match=r"model_class.pooler"):
        answer(directory)


@pytest.mark.parametrize(("name", "words"), [
    ("LamaForCausalLM", "Neither weft nor vLLM knows it. Nearest: LlamaForCausalLM"),
    ("XverseForCausalLM", "vLLM had XverseForCausalLM until 0.23.0 and dropped it; weft has no code for it"),
    ("Nemotron3_5AsrForRNNT", "only a plugin serves it: https://github.com/Sohaib-Ahmed21/vllm-nemotron-asr-plugin"),
    ("LlamaForConditionalGeneration", "LlamaForConditionalGeneration is LlamaForCausalLM with another end"),
])
def test_a_checkpoint_that_weft_has_no_code_for_says_why(tmp_path, name, words):
    with pytest.raises(ConfigError, match=rf"architectures = \['{name}'\] \(in .*config.json\).*{re.escape(words)}"):
        answer(make_checkpoint(tmp_path / "m", architectures=[name]), model_impl="native")


def test_a_registered_model_that_breaks_on_import_names_its_line(directory, package):
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.broken:Model")

    with pytest.raises(ConfigError, match=r"JSONDecodeError: .*broken.py, line 3\)"):
        answer(directory)
