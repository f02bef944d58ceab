"""Golden configs, mutated: an engine's config comes out, or an error that names key and file; never anything else."""

import copy
import json
import random

import pytest
from descriptions import description_of
from golden_configs import NO_TENSORS, entries

from weft.architectures.registry import families
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.resolve.engine_config import resolve_model
from weft.resolve.files import find_model

ENTRIES = [entry for entry in entries() if "result" in entry and "params" not in entry]
PARAMS = [entry["params"] for entry in entries() if "result" in entry and "params" in entry]
VALUES = [None, True, False, 0, 1, -1, 2, 3, -5, 10**6, 2**31, 2**63, 10**30, 10**400, 0.0, -0.0, -1e-5, 1e-320, 0.5,
          1e300, 1e308, float("inf"), float("-inf"), float("nan"), "", "x", "yarn", "\u0000", "9" * 500, [], [[]],
          [None], [-1], [0.5] * 64, [10**400], {}, {"rope_type": "yarn"}, {"type": "longrope", "short_factor": [1]},
          {"factor": 1e308, "rope_type": "dynamic"}, {"full_attention": {"rope_type": "linear", "factor": 2}}]
# Keys that matter and may be missing from a golden file.
KEYS = tuple("""
    rope_scaling rope_parameters rope_theta partial_rotary_factor rotary_pct text_config head_dim sliding_window
    layer_types architectures model_type torch_dtype eos_token_id vocab_size original_max_position_embeddings auto_map
    hidden_act tie_word_embeddings pooler_config quantization_config num_key_value_heads max_position_embeddings
    llm_config model
""".split())
ROUNDS = 3000
SEED = 20261124


def mutated(config, rng):
    """The config with one to three changes anywhere in it."""
    config = copy.deepcopy(config)
    for _ in range(rng.randint(1, 3)):
        place = config
        while (below := [v for v in place.values() if isinstance(v, dict) and v]) and rng.random() < 0.5:
            place = rng.choice(below)
        key = rng.choice([*place, *KEYS]) if place else rng.choice(KEYS)
        change = rng.randrange(5)
        if change == 0:
            place.pop(key, None)
        elif change == 1 and isinstance(place.get(key), int | float) and abs(place[key]) < 1e300:
            place[key] = rng.choice([-place[key], place[key] * 10**18, place[key] + 0.5, str(place[key]), [place[key]]])
        elif change == 2 and isinstance(place.get(key), list) and place[key]:
            place[key] = rng.choice([place[key][:-1], place[key] * 2, [*place[key][1:], rng.choice(VALUES)]])
        else:
            place[key] = copy.deepcopy(rng.choice(VALUES))
    return config


def deep(depth):
    value = {}
    for _ in range(depth):
        value = {"text_config": value, "rope_scaling": value}
    return value


def check(directory, text, file="config.json"):
    """The property. Gives the error's text, or None."""
    (directory / file).write_text(text)
    args = EngineArgs(model=str(directory))
    try:
        model = resolve_model(args, find_model(args))
        if any(name in families() for name in model.hf_config["architectures"]):
            description_of(model)
    except ConfigError as error:
        assert error.field
        assert str(directory) in str(error) or file in str(error), f"names no file: {error}"
        assert len(str(error)) < 2000, "says too much"
        return str(error)
    return None


@pytest.mark.parametrize("part", range(4))
def test_a_mutated_config_is_read_or_refused_by_key_and_file(tmp_path, part):
    rng = random.Random(SEED + part)
    outcomes = []
    for _ in range(ROUNDS // 4):
        config = mutated(rng.choice(ENTRIES)["config"], rng)
        try:
            outcomes.append(check(tmp_path, json.dumps(config)))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{json.dumps(config)}") from error

    assert 0.1 < sum(outcome is None for outcome in outcomes) / len(outcomes) < 0.9      # both happen often


def test_a_mutated_params_json_is_read_or_refused_by_key_and_file(tmp_path):
    rng = random.Random(SEED)
    (tmp_path / "consolidated.safetensors").write_bytes(NO_TENSORS)
    outcomes = []
    for _ in range(ROUNDS // 4):
        params = mutated(rng.choice(PARAMS), rng)
        try:
            outcomes.append(check(tmp_path, json.dumps(params), "params.json"))
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}\n{json.dumps(params)}") from error

    assert 0.1 < sum(outcome is None for outcome in outcomes) / len(outcomes) < 0.9      # both happen often


def test_a_truncated_file_is_refused_with_the_place(tmp_path):
    text = json.dumps(ENTRIES[0]["config"])

    for length in range(0, len(text), 7):
        assert "Line 1, column" in check(tmp_path, text[:length])


@pytest.mark.parametrize("depth", [3, 8, 12])
def test_deep_nesting_is_no_trap(tmp_path, depth):
    config = ENTRIES[0]["config"] | deep(depth)

    check(tmp_path, json.dumps(config))


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta", "hidden_size", "vocab_size", "num_hidden_layers",
                                 "num_attention_heads", "intermediate_size", "max_position_embeddings"])
@pytest.mark.parametrize("value", [-1, 0, "1", [1], {}, True, float("nan"), float("inf"), 10**400],
                         ids=["negative", "zero", "text", "list", "object", "true", "nan", "infinite", "huge"])
def test_a_size_that_is_none_is_refused(tmp_path, key, value):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "vocab_size": 100,
              "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "rope_theta": 1e4,
              "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
    assert check(tmp_path, json.dumps(config)) is None
    found = check(tmp_path, json.dumps(config | {key: value}))

    assert key in found
