"""What is registered is found, by whatever name and form; what is not is told apart into four kinds of errors."""

import sys

import pytest
from programmed_llama import MyLlama

import weft
from weft.architectures.llama import llama
from weft.architectures.registry import architecture, families
from weft.architectures.suffixes import base_architecture
from weft.errors import ConfigError, NotBuiltError
from weft.models.described import Described
from weft.models.described_pooling import DescribedPooling
from weft.models.registry import (
    ModelInfo,
    ModelRegistry,
    _LazyRegisteredModel,
    _ModelRegistry,
    _RegisteredModel,
    entries,
    look,
)


@architecture("Mine")
def mine(c):
    """Mine."""
    return llama(c)


def test_the_registry_is_a_public_name():
    assert weft.ModelRegistry is ModelRegistry and isinstance(ModelRegistry, _ModelRegistry)


@pytest.mark.parametrize("model", [
    MyLlama, "programmed_llama:MyLlama", f"{sys.modules['programmed_llama'].__file__}:MyLlama",
], ids=["class", "module:Class", "file:Class"])
def test_a_class_is_found_under_its_architecture(model):
    ModelRegistry.register_model("MineForCausalLM", model)

    cls, name = ModelRegistry.resolve_model_cls(["MineForCausalLM"])
    assert (cls.__name__, name) == ("MyLlama", "MineForCausalLM")
    assert "MineForCausalLM" in ModelRegistry.get_supported_archs()
    assert ModelRegistry.is_text_generation_model("MineForCausalLM")
    assert not ModelRegistry.is_pooling_model(["MineForCausalLM"])


def test_a_description_is_found_as_weft_runs_one():
    ModelRegistry.register_model("MineForCausalLM", mine)

    assert ModelRegistry.resolve_model_cls(["MineForCausalLM"]) == (Described, "MineForCausalLM")
    assert ModelRegistry.is_text_generation_model(["MineForCausalLM"])


def test_wefts_own_families_are_there_without_registering():
    assert ModelRegistry.get_supported_archs() == families().keys()
    assert ModelRegistry.resolve_model_cls("LlamaForCausalLM") == (Described, "LlamaForCausalLM")
    assert ModelRegistry.resolve_model_cls("BertModel") == (DescribedPooling, "BertModel")


def test_the_first_known_name_of_a_list_counts():
    ModelRegistry.register_model("MineForCausalLM", MyLlama)

    assert ModelRegistry.resolve_model_cls(["Nobody", "LlamaForCausalLM", "MineForCausalLM"])[1] == "LlamaForCausalLM"
    assert ModelRegistry.resolve_model_cls(["Nobody", "MineForCausalLM", "LlamaForCausalLM"])[1] == "MineForCausalLM"


def test_a_registered_class_takes_the_place_of_a_family(caplog):
    with caplog.at_level("INFO", logger="weft"):
        ModelRegistry.register_model("LlamaForCausalLM", MyLlama)

    assert ModelRegistry.resolve_model_cls("LlamaForCausalLM") == (MyLlama, "LlamaForCausalLM")
    assert "takes the place of weft's own description" in caplog.text


def test_another_model_under_a_taken_name_is_told_and_the_same_again_is_not(caplog):
    ModelRegistry.register_model("MineForCausalLM", MyLlama)
    ModelRegistry.register_model("MineForCausalLM", MyLlama)
    assert caplog.text == ""

    ModelRegistry.register_model("MineForCausalLM", "some.module:Other")
    assert "was registered as programmed_llama.MyLlama and is now some.module:Other" in caplog.text


@pytest.mark.parametrize(("text", "error"), [
    ("no_colon", ConfigError), ("a:b:c", ConfigError), (":Class", ConfigError), ("module:", ConfigError),
    (7, TypeError), (None, TypeError), (dict, TypeError), (len, TypeError),
])
def test_what_is_no_model_is_refused_with_the_forms_that_are(text, error):
    with pytest.raises(error, match=r"path/file\.py:"):
        ModelRegistry.register_model("MineForCausalLM", text)
    assert issubclass(ConfigError, ValueError) and ModelRegistry.models == {}


@pytest.mark.parametrize("write", [
    lambda entry: ModelRegistry.models.__setitem__("Mine", entry),
    lambda entry: ModelRegistry.models.update(Mine=entry),
    lambda entry: ModelRegistry.models.setdefault("Mine", entry)], ids=["item", "update", "setdefault"])
@pytest.mark.parametrize("foreign", [MyLlama, "module:Class", object()], ids=["class", "name", "object"])
def test_what_is_no_entry_is_refused_as_it_is_written(write, foreign):
    with pytest.raises(TypeError, match=r"ModelRegistry\.models\['Mine'\] = .*: expected a _RegisteredModel or a "
                       r"_LazyRegisteredModel; ModelRegistry\.register_model\('Mine', …\) takes a class"):
        write(foreign)

    assert "Mine" not in ModelRegistry.models


def test_an_entry_that_is_written_is_registered():
    ModelRegistry.models["Mine"] = _LazyRegisteredModel("programmed_llama", "MyLlama")

    assert ModelRegistry.resolve_model_cls("Mine")[0].__name__ == "MyLlama"


def test_an_architecture_is_a_string():
    with pytest.raises(TypeError, match="model_arch = 3"):
        ModelRegistry.register_model(3, MyLlama)


def test_a_class_that_no_engine_could_drive_is_refused_at_registration():
    broken = type("Broken", (MyLlama,), {"forward": lambda self, ids: ids})

    with pytest.raises(ConfigError, match=r"register_model.forward = 'Broken.*expected forward\(self, input_ids, posi"):
        ModelRegistry.register_model("MineForCausalLM", broken)


def test_a_description_for_another_version_of_the_interface_is_refused(monkeypatch):
    monkeypatch.setitem(mine.__dict__, "requires_model_api", 2)

    with pytest.raises(ConfigError, match="requires_model_api = 2"):
        ModelRegistry.register_model("MineForCausalLM", mine)


# Bodies


@pytest.mark.parametrize(("name", "body"), [
    ("BertForSequenceClassification", "BertModel"), ("XLMRobertaForTokenClassification", "XLMRobertaModel"),
    ("LlamaForSequenceClassification", "LlamaForCausalLM"), ("Qwen2ForSequenceClassification", "Qwen2ForCausalLM"),
    ("InternLM2ForSequenceClassification", "InternLM2ForCausalLM"), ("BertForCausalLM", "BertLMHeadModel"),
])
def test_a_name_that_pools_has_the_bare_body_where_there_is_one_else_the_decoders(name, body):
    assert base_architecture(name, ModelRegistry.get_supported_archs()) == body


# Predicates


@pytest.mark.parametrize(("architecture", "states"), [
    ("LlamaForCausalLM", (False, False, False)), ("MambaForCausalLM", (True, True, False)),
])
def test_states_of_described_models(architecture, states):
    found = (ModelRegistry.model_has_inner_state(architecture), ModelRegistry.is_attention_free_model(architecture),
             ModelRegistry.is_hybrid_model(architecture))

    assert found == states


def test_an_encoder_pools():
    info, name = ModelRegistry.inspect_model_cls(["BertModel"])

    assert name == "BertModel" and info.is_pooling_model and not info.is_text_generation_model
    assert (info.attn_type, info.default_seq_pooling_type) == ("encoder_only", "CLS")


@pytest.mark.parametrize(("predicate", "flags"), [
    ("is_multimodal_model", {"supports_multimodal": True}),
    ("is_multimodal_raw_input_only_model", {"supports_multimodal_raw_input_only": True}),
    ("is_pp_supported_model", {"supports_pp": True, "make_empty_intermediate_tensors": print}),
    ("is_attention_free_model", {"is_attention_free": True}), ("is_hybrid_model", {"is_hybrid": True}),
    ("model_has_inner_state", {"has_inner_state": True}), ("is_noops_model", {"has_noops": True}),
    ("is_transcription_model", {"supports_transcription": True}),
    ("is_transcription_only_model", {"supports_transcription_only": True}),
    ("is_pooling_model", {"is_pooling_model": True}),
    ("is_cross_encoder_model", {"is_pooling_model": True, "score_type": "cross-encoder"}),
])
def test_predicates_read_the_class(predicate, flags):
    ModelRegistry.register_model("Plain", MyLlama)
    ModelRegistry.register_model("Able", type("Able", (MyLlama,), flags))

    assert getattr(ModelRegistry, predicate)(["Able"]) and not getattr(ModelRegistry, predicate)(["Plain"])


# Suffixes


def test_another_suffix_of_a_known_name_is_that_model():
    assert ModelRegistry.resolve_model_cls("LlamaForSequenceClassification") == (
        Described, "LlamaForSequenceClassification")
    assert ModelRegistry.resolve_model_cls(["Qwen3Model"])[1] == "Qwen3Model"
    assert ModelRegistry.inspect_model_cls("Qwen3ForRewardModel")[0].architecture == "qwen3"


# Errors


def test_a_name_that_nobody_ever_knew_has_its_nearest():
    with pytest.raises(ConfigError, match=r"Neither weft nor vLLM knows it. Nearest: .*Qwen3ForCausalLM") as caught:
        ModelRegistry.resolve_model_cls(["Qwen33ForCausalLM"])
    assert not isinstance(caught.value, NotBuiltError)


@pytest.mark.parametrize(("name", "words"), [
    ("BaichuanForCausalLM", r"vLLM had BaichuanForCausalLM until 0.23.0 and dropped it; weft has no code"),
    ("OrionForCausalLM", r"vLLM runs OrionForCausalLM; weft has no code"),
    ("VoxtralStreamingGeneration", r"vLLM had VoxtralStreamingGeneration once"),
])
def test_a_name_that_vllm_knows_or_knew_says_so(name, words):
    with pytest.raises(NotBuiltError, match=words):
        ModelRegistry.resolve_model_cls([name])


def test_a_name_that_only_a_plugin_serves_names_the_plugin():
    with pytest.raises(NotBuiltError, match=r"only a plugin serves it: https://.*/vllm-nemotron-asr-plugin"):
        ModelRegistry.inspect_model_cls(["Nemotron3_5AsrForRNNT"])


def test_a_model_that_breaks_on_import_says_where(package):
    ModelRegistry.register_model("MineForCausalLM", "lazy_models.broken:Model")

    for use in (ModelRegistry.inspect_model_cls, ModelRegistry.resolve_model_cls):
        with pytest.raises(ConfigError, match=r"JSONDecodeError: Expecting .*lazy_models/broken.py, line 3\)"):
            use(["MineForCausalLM"])


def test_no_names_are_an_error():
    with pytest.raises(ConfigError, match="at least one name"):
        ModelRegistry.resolve_model_cls([])


# Entries


def test_eager_and_lazy_entries_answer_alike(package):
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.one:Lazy")
    lazy = ModelRegistry.models["LazyForCausalLM"]
    asked = lazy.inspect_model_cls()
    assert "lazy_models" not in sys.modules and (package / "runs").read_text() == "x"

    eager = _RegisteredModel.from_model_cls(lazy.load_model_cls())

    assert isinstance(lazy, _LazyRegisteredModel)
    assert asked == eager.inspect_model_cls() and isinstance(asked, ModelInfo)
    assert asked.supports_lora and asked.is_hybrid and asked.is_text_generation_model and not asked.supports_pp
    assert lazy.load_model_cls() is eager.load_model_cls() and lazy.portable() == eager.portable()


def test_a_module_is_looked_at_once_until_a_file_that_it_is_made_of_changes(package):
    (package / "two.py").write_text("from lazy_models.one import Lazy\n\nclass Two(Lazy):\n    pass\n")
    ModelRegistry.register_model("TwoForCausalLM", "lazy_models.two:Two")
    for _ in range(2):
        assert ModelRegistry.is_hybrid_model("TwoForCausalLM")
    assert (package / "runs").read_text() == "x"

    (package / "one.py").write_text((package / "one.py").read_text().replace("is_hybrid = True", "is_hybrid = False"))

    assert not ModelRegistry.is_hybrid_model("TwoForCausalLM")
    assert (package / "runs").read_text() == "xx"


@pytest.mark.parametrize("broken", ["", "{", '{"info": {"architecture": "X", "unknown": 1}, "files": {}}', "[]"])
def test_a_note_that_cannot_be_read_counts_as_none(tmp_path, broken):
    (tmp_path / "note.json").write_text(broken)

    assert look._read(tmp_path / "note.json") is None


def test_a_description_may_be_named_too(package):
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.one:described")

    assert ModelRegistry.is_text_generation_model("LazyForCausalLM")
    assert ModelRegistry.resolve_model_cls("LazyForCausalLM") == (Described, "LazyForCausalLM")


def test_a_lazy_class_that_lacks_a_method_is_refused_when_it_is_used(package):
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.one:NoLogits")

    for use in (ModelRegistry.inspect_model_cls, ModelRegistry.resolve_model_cls):
        with pytest.raises(ConfigError, match=r"NoLogits.*compute_logits\(self, hidden_states\)"):
            use("LazyForCausalLM")


def test_a_process_that_dies_while_importing_is_an_error_with_its_last_words(package):
    (package / "dies.py").write_text("import os, sys\nprint('farewell', file=sys.stderr, flush=True)\nos._exit(3)\n")
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.dies:Model")

    with pytest.raises(ConfigError, match="ended with 3: farewell"):
        ModelRegistry.inspect_model_cls("LazyForCausalLM")


def test_a_process_that_takes_too_long_to_import_is_ended(package, monkeypatch):
    monkeypatch.setattr(look, "_LIMIT_S", 0.01)
    ModelRegistry.register_model("LazyForCausalLM", "lazy_models.one:Lazy")

    with pytest.raises(ConfigError, match=r"was ended after 0.01 s\."):
        ModelRegistry.inspect_model_cls("LazyForCausalLM")


def test_a_class_that_the_check_wraps_goes_by_its_own_name(monkeypatch):
    monkeypatch.setattr(entries, "check_class", lambda cls, field: type(cls.__name__, (cls,), {}))

    entry = _RegisteredModel.from_model_cls(MyLlama)

    assert entry.load_model_cls() is not MyLlama and issubclass(entry.load_model_cls(), MyLlama)
    assert entry.portable() == "programmed_llama:MyLlama" and entry.words() == "programmed_llama.MyLlama"


def test_a_dictionary_of_entries_may_be_edited_directly():
    ModelRegistry.models["MineForCausalLM"] = _RegisteredModel.from_model_cls(MyLlama)

    assert ModelRegistry.resolve_model_cls("MineForCausalLM") == (MyLlama, "MineForCausalLM")


@pytest.mark.parametrize("wrong", [None, 5, [], [None], ["LlamaForCausalLM", 5]])
def test_what_is_no_name_of_an_architecture_is_told(wrong):
    for ask in (ModelRegistry.resolve_model_cls, ModelRegistry.inspect_model_cls, ModelRegistry.is_hybrid_model):
        with pytest.raises(ConfigError, match=r"architectures = .*: expected at least one name"):
            ask(wrong)
