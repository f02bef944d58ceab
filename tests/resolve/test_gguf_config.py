"""GGUF metadata become the config keys that families read, each with its source; what is wrong is named."""

import json

import numpy as np
import pytest
from gguf_bytes import ARRAY, BOOL, F32, STRING, U32, entry, tensor, write

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.errors import CheckpointError, ConfigError, NotBuiltError
from weft.resolve import maybe_patch_hf_config_from_gguf
from weft.resolve.config_file import read_config
from weft.resolve.engine_config import resolve_engine_config
from weft.resolve.gguf.config import read_gguf_config

KINDS = {bool: BOOL, int: U32, float: F32, str: STRING}
BASE = {"context_length": 128, "embedding_length": 64, "block_count": 2, "attention.head_count": 4,
        "attention.head_count_kv": 2, "feed_forward_length": 96, "attention.layer_norm_rms_epsilon": 1e-5}
TENSORS = {"token_embd.weight": (64, 300), "output.weight": (64, 300), "blk.0.attn_q.weight": (64, 64),
           "blk.1.attn_q.weight": (64, 64)}


def make(path, architecture="llama", *, tensors=None, kinds=None, general=None, **keys):
    """A GGUF file of BASE and `keys` (dots as __), None removes; tensors {name: sizes}, kinds {name: type number}."""
    values = BASE | {key.replace("__", "."): value for key, value in keys.items()}
    named = {f"{architecture}.{key}": value for key, value in values.items() if value is not None}
    entries = [entry(key, *typed(value)) for key, value in (
        {"general.architecture": architecture} | named | (general or {})).items()]
    offset, rows = 0, []
    for name, sizes in (TENSORS if tensors is None else tensors).items():
        kind = (kinds or {}).get(name, 0)
        rows.append(tensor(name, sizes, kind, offset))
        offset += -(-int(np.prod(sizes)) * 4 // 32) * 32
    return write(path, entries, rows, bytes(offset))


def typed(value):
    if not isinstance(value, list):
        return KINDS[type(value)], value
    return ARRAY, (KINDS[type(value[0])], value)


def config(tmp_path, architecture="llama", overrides=None, **options):
    return read_gguf_config(make(tmp_path / "m.gguf", architecture, **options), overrides or {})


def spec_of(found):
    reader = ConfigReader(found.values, source=found.source, origins=found.origins)
    return families()[found.architecture].describe(reader), reader


def test_keys_have_their_hugging_face_names_and_remember_where_they_are_from(tmp_path):
    found = config(tmp_path, rope__freq_base=5000.0)

    expected = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 128,
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "rms_norm_eps": 1e-5, "head_dim": 16, "vocab_size": 300,
        "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False, "torch_dtype": "float32",
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}}
    assert found.values == expected
    assert found.origins["hidden_size"] == "llama.embedding_length"
    assert found.origins["vocab_size"] == "tensor token_embd.weight"
    assert found.source == str(tmp_path / "m.gguf")


def test_a_function_overrides_metadata_as_it_does_a_config_file(tmp_path):
    def longer(config):
        config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": 2.0}
        return config

    path = make(tmp_path / "m.gguf")
    args = EngineArgs(model=str(path), hf_overrides=longer, skip_tokenizer_init=True)

    model = resolve_engine_config(args, Machine.detect()).model

    assert model.hf_config["rope_parameters"] == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
    assert model.origins["rope_parameters.factor"] == "override"
    assert model.origins["hidden_size"] == "llama.embedding_length"


def test_overrides_are_put_over_the_metadata(tmp_path):
    found = config(tmp_path, overrides={"rope_parameters": {"rope_theta": 7.0}, "max_position_embeddings": 9})

    assert found.values["rope_parameters"] == {"rope_type": "default", "rope_theta": 7.0}
    assert found.values["max_position_embeddings"] == 9
    assert found.origins["max_position_embeddings"] == "override"


@pytest.mark.parametrize("keys, expected", [
    ({"expert_count": 4, "expert_used_count": 2}, "MixtralForCausalLM"),
    ({"expert_count": 0}, "LlamaForCausalLM"),
    ({"attention__sliding_window": 12}, "MistralForCausalLM"),
    ({"attention__sliding_window": 0}, "LlamaForCausalLM"),
])
def test_one_architecture_of_gguf_may_be_several_classes(tmp_path, keys, expected):
    assert config(tmp_path, **keys).architecture == expected


def test_a_list_of_equal_values_for_each_layer_is_one_value(tmp_path):
    found = config(tmp_path, attention__head_count_kv=[2, 2], feed_forward_length=[96, 96])

    assert (found.values["num_key_value_heads"], found.values["intermediate_size"]) == (2, 96)


def test_layers_that_differ_are_refused_by_the_family_with_the_key(tmp_path):
    found = config(tmp_path, attention__head_count_kv=[2, 4])

    with pytest.raises(ConfigError, match=r"num_key_value_heads = \[2, 4\].*m.gguf"):
        spec_of(found)


@pytest.mark.parametrize("layers, hidden, heads, head_dim, expected", [
    (2, 64, 4, 24, 24), (46, 4608, 32, 128, 144), (46, 64, 4, 24, 16)])
def test_gemma_2s_query_scale_is_that_of_its_heads_but_of_its_width_in_the_largest(tmp_path, layers, hidden, heads,
                                                                                   head_dim, expected):
    found = config(tmp_path, "gemma2", block_count=layers, embedding_length=hidden, attention__head_count=heads,
                   attention__key_length=head_dim, attention__value_length=head_dim)

    assert found.values["query_pre_attn_scalar"] == expected


def test_a_scale_in_the_file_counts_first(tmp_path):
    assert config(tmp_path, "gemma3", attention__scale=20 ** -0.5).values["query_pre_attn_scalar"] == 20


@pytest.mark.parametrize("pattern, expected", [(2, ["sliding", "full"]), ([False, True], ["full", "sliding"])])
def test_windows_by_layer(tmp_path, pattern, expected):
    found = config(tmp_path, "gemma3", attention__sliding_window=12, attention__sliding_window_pattern=pattern,
                   attention__key_length=16, attention__value_length=16)

    assert found.values["layer_types"] == [f"{name}_attention" for name in expected]


def test_llama_3s_rope_factors_are_read_from_their_tensor(tmp_path):
    path = make(tmp_path / "m.gguf", tensors=TENSORS | {"rope_freqs.weight": (8,)})
    data = bytearray(path.read_bytes())
    data[-32:] = np.arange(1, 9, dtype="<f4").tobytes()
    path.write_bytes(data)

    rope = read_gguf_config(path, {}).values["rope_parameters"]

    assert rope["short_factor"] == rope["long_factor"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert (rope["rope_type"], rope["attention_factor"]) == ("longrope", 1.0)


@pytest.mark.parametrize("keys, expected", [
    ({}, {"rope_type": "default"}),
    ({"rope__scaling__type": "none", "rope__scaling__factor": 4.0}, {"rope_type": "default"}),
    ({"rope__scaling__type": "linear", "rope__scaling__factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    ({"rope__scaling__factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    ({"rope__scale_linear": 2.0}, {"rope_type": "linear", "factor": 2.0}),
    ({"rope__scaling__type": "yarn", "rope__scaling__factor": 4.0, "rope__scaling__original_context_length": 32,
      "rope__scaling__yarn_beta_fast": 16.0},
     {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0}),
])
def test_rope_scaling(tmp_path, keys, expected):
    found = config(tmp_path, **keys).values

    assert found["rope_parameters"] == {"rope_theta": 10000.0} | expected
    assert [key for key in found if key.startswith("llama.")] == (
        ["llama.rope.scaling.factor"] if keys.get("rope__scaling__type") == "none" else [])


@pytest.mark.parametrize("rotated, expected", [(16, 16), (4, 4), (12, 12)])
def test_part_of_a_head_may_be_rotated(tmp_path, rotated, expected):
    spec, _ = spec_of(config(tmp_path, rope__dimension_count=rotated))

    assert spec.blocks[0].mixer.positions.rotary_dim == expected


def test_every_part_of_every_head_comes_out_whole(tmp_path):
    from weft.resolve.gguf.config import _fraction

    assert all(int(size * _fraction(part, size)) == part for size in range(2, 600) for part in range(1, size + 1))


@pytest.mark.parametrize("number", [2**32 - 1, 3])
def test_an_id_that_no_token_has_is_none(tmp_path, number):
    found = config(tmp_path, general={"tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
                                      "tokenizer.ggml.padding_token_id": number, "tokenizer.ggml.bos_token_id": number})

    assert not {"pad_token_id", "bos_token_id"} & found.values.keys()


def test_every_id_that_ends_a_turn_counts_as_eos(tmp_path):
    general = {"tokenizer.ggml.tokens": ["<s>", "</s>", "a", "<|im_end|>", "<|eot_id|>"],
               "tokenizer.ggml.token_type": [3, 3, 1, 3, 1], "tokenizer.ggml.eos_token_id": 1,
               "tokenizer.ggml.eot_token_id": 2, "tokenizer.ggml.bos_token_id": 0}

    found = config(tmp_path, general=general).values

    assert (found["eos_token_id"], found["bos_token_id"]) == ([1, 2, 3, 4], 0)


@pytest.mark.parametrize("kind, expected", [(0, "float32"), (1, "float16"), (30, "bfloat16"), (8, "bfloat16")])
def test_the_dtype_is_that_of_most_numbers(tmp_path, kind, expected):
    kinds = {"token_embd.weight": kind, "output.weight": kind}

    assert config(tmp_path, kinds=kinds).values["torch_dtype"] == expected


def test_what_nobody_knows_is_reported_as_unread_under_its_own_name(tmp_path):
    _, reader = spec_of(config(tmp_path, attention__unheard_of=3, odd=[1, 2, 3]))

    assert reader.unread() == {"llama.attention.unheard_of": 3, "llama.odd": "<3 values>"}


@pytest.mark.parametrize("keys, said", [
    ({"block_count": None}, "llama.block_count = None"),
    ({"embedding_length": None}, "llama.embedding_length = None"),
    ({"attention__key_length": 16, "attention__value_length": 8}, "llama.attention.value_length = 8.*expected 16"),
    ({"attention__key_length": "x"}, "llama.attention.key_length = 'x'.*expected a number"),
    ({"rope__dimension_count": 2.5}, "llama.rope.dimension_count = 2.5.*expected an integer"),
    ({"rope__freq_base": float("nan")}, "llama.rope.freq_base = nan.*expected a number"),
    ({"rope__scaling__type": "longrope"}, "llama.rope.scaling.type = 'longrope'.*expected a tensor rope_factors_long"),
    ({"rope__scaling__type": "su"}, "llama.rope.scaling.type = 'su'.*expected none, linear, yarn or longrope"),
    ({"attention__sliding_window_pattern": "x"}, "llama.attention.sliding_window_pattern = 'x'"),
    ({"attention__scale": 0.0, "architecture": "gemma2"}, "gemma2.attention.scale = 0.0.*above 0"),
    ({"expert_count": "x"}, "llama.expert_count = 'x'.*expected a number"),
])
def test_a_value_that_cannot_be_is_an_error_with_its_metadata_key_and_file(tmp_path, keys, said):
    with pytest.raises(ConfigError, match=said) as caught:
        config(tmp_path, **keys)

    assert str(tmp_path / "m.gguf") in str(caught.value)


def test_a_family_that_weft_does_not_describe_is_an_error_that_says_so(tmp_path):
    with pytest.raises(NotBuiltError, match=r"general.architecture = 'rwkv6'.*expected one of llama, .*describe this"):
        config(tmp_path, "rwkv6")
    with pytest.raises(ConfigError, match=r"general.architecture = None"):
        read_gguf_config(write(tmp_path / "n.gguf"), {})


def test_a_rope_tensor_of_another_kind_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"tensor 'rope_freqs.weight': F16 \[8\], expected F32"):
        config(tmp_path, tensors=TENSORS | {"rope_freqs.weight": (8,)}, kinds={"rope_freqs.weight": 1})
    with pytest.raises(CheckpointError, match=r"tensor 'rope_factors_short.weight' is missing"):
        config(tmp_path, tensors=TENSORS | {"rope_factors_long.weight": (8,)})


HF = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2,
      "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 280, "max_position_embeddings": 77}


def test_a_config_json_beside_the_file_counts_but_for_what_the_tensors_say(tmp_path):
    path = make(tmp_path / "m.gguf", tensors={"token_embd.weight": (64, 300)}, kinds={"token_embd.weight": 30})
    (tmp_path / "config.json").write_text(json.dumps(HF | {"quantization_config": {"quant_method": "fp8"}}))

    model = resolve_engine_config(EngineArgs(model=str(path)), Machine.detect()).model

    assert (model.max_model_len, model.vocab_size, model.dtype) == (77, 300, "bfloat16")
    assert model.hf_config["tie_word_embeddings"] is True
    assert model.origins["vocab_size"] == "tensors of m.gguf"
    assert model.config_source == str(tmp_path / "config.json")
    assert model.path == str(path)


def test_a_nested_text_config_is_patched_where_it_lies(tmp_path):
    path = make(tmp_path / "m.gguf")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["X"], "text_config": HF}))

    patched = maybe_patch_hf_config_from_gguf(path, read_config(tmp_path, {}))

    assert patched.values["text_config"]["vocab_size"] == 300
    assert patched.origins["text_config.vocab_size"] == "tensors of m.gguf"
    assert "vocab_size" not in patched.values


@pytest.mark.parametrize("seed", range(150))
def test_metadata_of_any_type_and_size_become_a_spec_or_an_error_with_the_file(tmp_path, seed):
    random = np.random.default_rng(seed)
    odd = [0, 1, 2**31, 2**32 - 1, -1.0, 1e30, float("inf"), "x", "", True, [1], [0.5, 2.0], ["a"], None]
    architecture = ["llama", "gemma2", "gemma3", "qwen3moe", "phi3", "falcon", "gpt2", "olmo2"][seed % 8]
    names = [*(name.replace(".", "__") for name in BASE), "expert_count", "expert_used_count", "rope__freq_base",
             "rope__dimension_count", "rope__scaling__type", "rope__scaling__factor", "attention__key_length",
             "attention__sliding_window", "attention__sliding_window_pattern", "attention__scale", "vocab_size"]
    changes = {names[i]: odd[random.integers(len(odd))] for i in random.choice(len(names), 3, replace=False)}

    try:
        path = make(tmp_path / "m.gguf", architecture, **{
            key: value for key, value in changes.items() if not isinstance(value, float) or key != "vocab_size"})
        spec, _ = spec_of(read_gguf_config(path, {}))
        assert spec.vocab_size == 300
    except (ConfigError, CheckpointError) as error:
        assert str(tmp_path / "m.gguf") in str(error)


@pytest.mark.parametrize("counts, said", [([2, 4, 0, 2], "zeros, and one other number"), ([2, 0, 4, 0], "zeros, and"),
                                          ([2, 0, 2, 2], "layers at equal distances")])
def test_layers_of_a_hybrid_that_its_config_cannot_say_are_refused(counts, said, tmp_path):
    path = make(tmp_path / "m.gguf", "jamba", block_count=4, attention__head_count_kv=counts, ssm__inner_size=128)

    with pytest.raises(ConfigError, match=said):
        read_gguf_config(path, {})
