"""`get_config` and the classes behind it: those of Transformers, weft's own, and code of the checkpoint if trusted."""

import subprocess
import sys

import pytest
import torch
import transformers
from gguf_bytes import STRING, U32, entry, tensor
from gguf_bytes import write as write_gguf
from model_dir import write_model
from transformers import PretrainedConfig

import weft.resolve
from weft.errors import ConfigError
from weft.resolve import LazyConfigDict, get_config, patch_rope_parameters
from weft.resolve.hf.classes import CONFIG_REGISTRY, RemoteCodeError, auto_config_keywords

SEEDS = {
    "afmoe": "AfmoeConfig", "chatglm": "ChatGLMConfig", "deepseek_vl_v2": "DeepseekVLV2Config",
    "deepseek_v32": "DeepseekV3Config", "eagle": "EAGLEConfig", "flex_olmo": "FlexOlmoConfig",
    "hunyuan_vl": "HunYuanVLConfig", "jais": "JAISConfig", "kimi_linear": "KimiLinearConfig",
    "kimi_vl": "KimiVLConfig", "medusa": "MedusaConfig", "mlp_speculator": "MLPSpeculatorConfig",
    "nemotron": "NemotronConfig", "olmo3": "Olmo3Config", "RefinedWeb": "RWConfig", "RefinedWebModel": "RWConfig",
    "speculators": "SpeculatorsConfig", "ultravox": "UltravoxConfig",
}
REMOTE = '''
from transformers import PretrainedConfig

class MineConfig(PretrainedConfig):
    model_type = "mine"
    attribute_map = {"hidden_size": "width"}

    def __init__(self, width=8, extra=7, **kwargs):
        self.width, self.extra = width, extra
        super().__init__(**kwargs)
'''


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A model whose config class is code beside it."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "configuration_mine.py").write_text(REMOTE)
    return write_model(tmp_path / "m", model_type="mine", auto_map={"AutoConfig": "configuration_mine.MineConfig"})


def test_the_table_holds_the_classes_by_name_and_loads_them_when_asked():
    assert {model_type: CONFIG_REGISTRY.name_of(model_type) for model_type in CONFIG_REGISTRY} == SEEDS
    assert {model_type: cls.__name__ for model_type, cls in CONFIG_REGISTRY.items()} == SEEDS
    assert all(issubclass(cls, PretrainedConfig) for cls in CONFIG_REGISTRY.values())


def test_a_class_that_transformers_has_is_its_own():
    assert CONFIG_REGISTRY["olmo3"] is transformers.Olmo3Config
    assert CONFIG_REGISTRY["jais"].__module__ == "weft.resolve.hf.classes"
    assert CONFIG_REGISTRY.get("llama") is None


def test_the_table_knows_names_without_importing_transformers():
    code = ("import sys; from weft.resolve.hf.classes import CONFIG_REGISTRY as c; c.name_of('jais'); list(c); "
            "print('transformers' in sys.modules)")

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_lazy_table_keeps_what_it_loaded():
    table = LazyConfigDict(jais="JAISConfig")

    assert table["jais"] is table["jais"]
    with pytest.raises(KeyError):
        table["no such type"]


def test_a_config_becomes_an_object_of_its_class_with_one_spelling_of_rope(tmp_path):
    config = get_config(write_model(tmp_path, rope_theta=5e5), trust_remote_code=False)

    assert isinstance(config, transformers.LlamaConfig)
    assert (config.hidden_size, config.rope_parameters["rope_theta"]) == (32, 5e5)


def test_a_class_of_wefts_own_keeps_its_defaults_and_renames(tmp_path):
    path = write_model(tmp_path, model_type="chatglm", num_layers=3, without=["num_hidden_layers"])

    config = get_config(path, trust_remote_code=False)

    assert (type(config).__name__, config.num_hidden_layers, config.kv_channels) == ("ChatGLMConfig", 3, 128)


def test_nested_configs_are_objects_too(tmp_path):
    path = write_model(tmp_path, model_type="kimi_vl", text_config={"model_type": "deepseek_v3", "hidden_size": 64},
                       vision_config={"model_type": "moonvit", "patch_size": 14})

    config = get_config(path, trust_remote_code=False)

    assert isinstance(config.text_config, transformers.DeepseekV3Config)
    assert (config.text_config.hidden_size, config.vision_config.patch_size) == (64, 14)


def test_overrides_are_values_or_a_function_and_both_may_switch_the_class(tmp_path):
    path = write_model(tmp_path)

    def switch(config):
        config.model_type = "qwen2"
        config.hidden_size = 128
        return config

    by_value = get_config(path, False, hf_overrides_kw={"model_type": "mistral", "hidden_size": 64})
    by_function = get_config(path, False, hf_overrides_fn=switch)

    assert isinstance(by_value, transformers.MistralConfig) and by_value.hidden_size == 64
    assert isinstance(by_function, transformers.Qwen2Config) and by_function.hidden_size == 128


def test_some_classes_need_keywords():
    assert auto_config_keywords("NVLM_D") == {"has_no_defaults_at_init": True}
    assert auto_config_keywords("Llama_Nemotron_Nano_VL") == {"attn_implementation": "eager"}
    assert auto_config_keywords("llama") == {}


def test_code_of_the_checkpoint_runs_only_when_it_is_trusted(remote):
    with pytest.raises(RemoteCodeError, match=r"trust_remote_code=True or --trust-remote-code") as caught:
        get_config(remote, trust_remote_code=False)
    assert isinstance(caught.value, RuntimeError)

    config = get_config(remote, trust_remote_code=True)

    assert (type(config).__name__, config.extra) == ("MineConfig", 7)


@pytest.mark.parametrize("reference, expected", [
    ("MineConfig", r'expected "file.Class"'), ("../mine.MineConfig", r'expected "file.Class"'),
    ("absent.MineConfig", "there is no .*absent.py")])
def test_a_reference_to_no_file_is_refused_before_any_code_is_said_to_run(tmp_path, reference, expected, caplog):
    path = write_model(tmp_path, model_type="mine", auto_map={"AutoConfig": reference})

    with pytest.raises(ConfigError, match=rf"auto_map.AutoConfig = '{reference}'.*{expected}"):
        get_config(path, trust_remote_code=True)
    assert "runs code" not in caplog.text


def test_a_model_type_that_nobody_has_a_class_for_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="model_type = 'never-heard'"):
        get_config(write_model(tmp_path, model_type="never-heard"), trust_remote_code=False)


@pytest.mark.parametrize(("changes", "key", "value", "reason"), [
    ({"hidden_size": "wide"}, "hidden_size", "'wide'", "expected int, got str"),
    ({"num_attention_heads": 5}, "num_attention_heads", "5", "not a multiple"),
    ({"torch_dtype": "bfloat17"}, "torch_dtype", "'bfloat17'", "bfloat17"),
    ({"quantization_config": [1]}, "quantization_config", r"\[1\]", "list"),
    ({"model_type": "llava", "text_config": {
        "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 5, "vocab_size": 100,
        "max_position_embeddings": 64}}, r"text_config\.num_attention_heads", "5", "not a multiple"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_the_class_complains_about_is_named_by_key_and_value(tmp_path, changes, key, value, reason):
    with pytest.raises(ConfigError, match=rf"(?s)^{key} = {value} \(in .*config\.json\): expected.*{reason}"):
        get_config(write_model(tmp_path, **changes), trust_remote_code=False)


def test_a_complaint_about_an_override_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"num_attention_heads = 5 \(in hf_overrides\)"):
        get_config(write_model(tmp_path), trust_remote_code=False, hf_overrides_kw={"num_attention_heads": 5})


def test_values_that_no_single_key_spoils_are_an_error_that_keeps_the_reason(tmp_path):
    with pytest.raises(ConfigError, match=r"(?s)config = 'LlamaConfig' \(in .*config\.json\).*expected int, got str"):
        get_config(write_model(tmp_path, hidden_size="wide", vocab_size="many"), trust_remote_code=False)


@pytest.mark.parametrize("name", ["bfloat16", "torch.bfloat16", "bf16", "torch.bf16"])
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_each_spelling_of_a_dtype_is_that_dtype(tmp_path, key, name):
    config = get_config(write_model(tmp_path, **{key: name}), trust_remote_code=False)

    assert config.dtype is torch.bfloat16


def test_a_gguf_file_is_a_config(tmp_path):
    entries = [entry(key, *value) for key, value in {
        "general.architecture": (STRING, "llama"), "llama.context_length": (U32, 128), "llama.block_count": (U32, 2),
        "llama.embedding_length": (U32, 64), "llama.attention.head_count": (U32, 4),
        "llama.feed_forward_length": (U32, 96)}.items()]
    path = write_gguf(tmp_path / "m.gguf", entries, [tensor("token_embd.weight", (64, 300), 0, 0)], bytes(64 * 300 * 4))

    for model in (path, tmp_path):
        config = get_config(model, trust_remote_code=False, hf_overrides_kw={"rms_norm_eps": 0.5})

        assert isinstance(config, transformers.LlamaConfig)
        assert (config.vocab_size, config.num_hidden_layers, config.rms_norm_eps) == (300, 2, 0.5)


def test_a_config_of_another_place_can_be_taken(tmp_path):
    there = write_model(tmp_path / "b", hidden_size=64)

    config = get_config(write_model(tmp_path / "a"), trust_remote_code=False, hf_config_path=there)

    assert config.hidden_size == 64
    with pytest.raises(ConfigError, match=r"hf_config_path = .*nowhere"):
        get_config(tmp_path / "a", trust_remote_code=False, hf_config_path=tmp_path / "nowhere")


@pytest.mark.parametrize("config_format", ["auto", "hf", "mistral"])
def test_a_keyword_that_nobody_reads_is_a_type_error(tmp_path, config_format):
    with pytest.raises(TypeError, match="unexpected keyword argument 'hf_token'"):
        get_config(write_model(tmp_path), trust_remote_code=False, config_format=config_format, hf_token="x")


def test_what_old_modelopt_says_of_quantization_is_on_the_object(tmp_path):
    said = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}
    files = {"hf_quant_config.json": said}

    assert get_config(write_model(tmp_path / "a", files), trust_remote_code=False).quantization_config == said
    own = {"quant_method": "fp8"}
    assert get_config(write_model(tmp_path / "b", files, quantization_config=own),
                      trust_remote_code=False).quantization_config == own


def test_dbrx_rotates_by_the_base_in_its_attention_config(tmp_path):
    directory = write_model(tmp_path, model_type="dbrx", architectures=["DbrxForCausalLM"], d_model=32, n_heads=4,
                            attn_config={"kv_n_heads": 2, "rope_theta": 5e5})

    config = get_config(directory, trust_remote_code=False)

    assert (config.attn_config.rope_theta, config.rope_parameters["rope_theta"]) == (5e5, 5e5)


@pytest.mark.filterwarnings("ignore:`rope_scaling` is deprecated:FutureWarning")
def test_patching_ropes_changes_the_object_and_those_within_it():
    config = PretrainedConfig(rope_scaling={"type": "su", "short_factor": [1.0], "long_factor": [1.0]}, rotary_pct=0.5)
    config.text_config = PretrainedConfig(rotary_emb_base=1000.0)

    patch_rope_parameters(config)

    assert config.rope_parameters["rope_type"] == "longrope"
    assert config.rope_parameters["partial_rotary_factor"] == 0.5
    assert config.text_config.rope_parameters == {"rope_type": "default", "rope_theta": 1000.0}


def test_every_public_name_is_there():
    assert {getattr(weft.resolve, name).__module__ for name in weft.resolve.__all__ if name != "HfOverrides"}
    assert weft.resolve.HfOverrides is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        weft.resolve.nothing  # noqa: B018


def test_a_directory_that_is_none_is_said_to_be_none_without_the_network(monkeypatch):
    monkeypatch.setattr("socket.socket", lambda *a, **k: pytest.fail("opened a socket"))

    with pytest.raises(ConfigError, match="expected a directory that exists"):
        get_config("/no/such/place", trust_remote_code=False)


def test_a_config_that_names_another_model_holds_its_config_and_another_one_when_another_is_named(tmp_path):
    first, second = write_model(tmp_path / "a", hidden_size=64), write_model(tmp_path / "b", hidden_size=128)
    path = write_model(tmp_path / "m", model_type="ultravox", architectures=["UltravoxModel"],
                       text_model_id=str(first))

    config = get_config(path, trust_remote_code=False)
    assert config.text_config.hidden_size == 64

    config.text_model_id = str(second)
    assert config.text_config.hidden_size == 128
