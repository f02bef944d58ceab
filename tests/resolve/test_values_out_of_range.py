"""Values that no model can have are refused by the readers that all families share, whatever family reads them."""

import pytest
from golden_configs import entries

from weft.architectures.keys import check_token_ids
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.errors import ConfigError
from weft.resolve.config_file import normalise

TOKENS = {"bos_token_id", "eos_token_id", "pad_token_id"}           # `check_token_ids` has these


def golden():
    """(name, config, family) of all golden configs that a family describes."""
    for entry in entries():
        if "config" in entry and "result" in entry and "params" not in entry:
            config = normalise(entry["config"], entry.get("overrides", {}), entry["name"])
            yield entry["name"], config.values, families().get(config.architecture)


def reader(config, **changes):
    return ConfigReader(dict(config) | changes)


def accepted(family, config, key, value):
    try:
        family.describe(reader(config, **{key: value}))
    except ConfigError:
        return False
    return True


def test_no_family_accepts_a_negative_size_count_or_layer():
    found = []
    for name, config, family in golden():
        if family is None:
            continue
        used = reader(config)
        try:
            family.describe(used)
        except ConfigError:          # of a later stage's defaults
            continue
        for key, value in config.items():
            is_size = isinstance(value, int) and not isinstance(value, bool) and used.is_used(key)
            if is_size and key not in TOKENS and accepted(family, config, key, -5):
                found.append((name, key))

    assert found == []


LLAMA = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "vocab_size": 100}
MOE = LLAMA | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
FINE = MOE | {"n_routed_experts": 4, "kv_lora_rank": 16, "v_head_dim": 16, "qk_rope_head_dim": 8,
              "qk_nope_head_dim": 16, "n_group": 1, "topk_group": 1}


@pytest.mark.parametrize("architecture, config, key, value", [
    ("Qwen3MoeForCausalLM", MOE, "mlp_only_layers", [99]), ("Qwen3MoeForCausalLM", MOE, "mlp_only_layers", ["1"]),
    ("LlamaForCausalLM", LLAMA, "partial_rotary_factor", 3), ("LlamaForCausalLM", LLAMA, "partial_rotary_factor", -0.5),
    ("MiniMaxM2ForCausalLM", MOE, "rotary_dim", 64), ("DeepseekV3ForCausalLM", FINE, "first_k_dense_replace", -1),
    ("DeepseekV3ForCausalLM", FINE, "n_shared_experts", -1),
    ("PhimoeForCausalLM", MOE, "router_jitter_noise", -1.0),
])
def test_a_value_out_of_range_is_an_error_that_names_the_key(architecture, config, key, value):
    family = families()[architecture]
    family.describe(reader(config))

    with pytest.raises(ConfigError, match=key):
        family.describe(reader(config, **{key: value}))


@pytest.mark.parametrize("key, value", [("pad_token_id", -5), ("eos_token_id", [2, -3]), ("bos_token_id", "one"),
                                        ("eos_token_id", True)])
def test_a_token_id_that_no_vocabulary_has_is_refused(key, value):
    check_token_ids(reader(LLAMA, bos_token_id=1, eos_token_id=[2, 3], pad_token_id=-1))

    with pytest.raises(ConfigError, match=key):
        check_token_ids(reader(LLAMA, **{key: value}))
