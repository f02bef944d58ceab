"""`get_rope` of every kind turns by the frequencies of Transformers, or of the formula written out."""

import math

import pytest
import torch
from public_layers import finish
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from weft.errors import ConfigError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.public import StepRef, get_rope

SIZE, LENGTH = 32, 64          # of a head; `finish` prepares frequencies for sequences of 64
PAIRS = SIZE // 2
LISTS = {"short_factor": [1 + i / 8 for i in range(PAIRS)], "long_factor": [2 + i / 4 for i in range(PAIRS)]}


def ready(**options):
    layer = get_rope(SIZE, **options)
    layer.bind(LayerContext(torch.float32), StepRef())
    finish(layer)
    return layer


def turned(layer, position):
    """(cos, sin) [R / 2] by which a head of ones and zeros is turned at a position."""
    first = torch.zeros(1, SIZE)
    first[:, :PAIRS] = 1.0
    out, _ = layer(torch.tensor([position]), first)
    return out[0, :PAIRS], out[0, PAIRS:]


def check(layer, frequencies, factor=1.0):
    for position in (0, 1, 7, 40):
        angle = position * torch.as_tensor(frequencies, dtype=torch.float32)
        torch.testing.assert_close(turned(layer, position), (angle.cos() * factor, angle.sin() * factor),
                                   atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("parameters", [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 8.0, "beta_slow": 2.0,
     "truncate": False, "attention_factor": 1.3},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7, "mscale_all_dim": 0.4},
    {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 16} | LISTS,
    {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 128} | LISTS,
    {"rope_type": "proportional", "partial_rotary_factor": 0.25},
    {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
], ids=str)
def test_frequencies_are_those_of_transformers(parameters):
    given = {"rope_theta": 500.0} | parameters
    config = LlamaConfig(hidden_size=4 * SIZE, num_attention_heads=4, head_dim=SIZE, max_position_embeddings=16,
                         rope_parameters=dict(given))
    kind = parameters["rope_type"]
    if kind == "default":
        wanted, factor = 500.0 ** (-torch.arange(PAIRS) / PAIRS), 1.0
    else:
        is_short = parameters.get("original_max_position_embeddings", 0) > LENGTH
        wanted, factor = ROPE_INIT_FUNCTIONS[kind](config, seq_len=None if is_short else LENGTH)

    check(ready(max_position=16, rope_parameters=given), wanted, factor)


def test_ntk_multiplies_the_base_and_divides_the_frequencies():
    wanted = [(500.0 * 4) ** (-i / PAIRS) / 4 ** (2 / SIZE) for i in range(PAIRS)]

    check(ready(rope_parameters={"rope_type": "ntk", "factor": 4.0, "rope_theta": 500.0}), wanted)


def test_ntk_with_mixed_b_divides_each_frequency_by_its_own_factor():
    wanted = [500.0 ** (-i / PAIRS) / math.exp(math.log(4) / PAIRS ** 0.6 * (i + 1) ** 0.6) for i in range(PAIRS)]

    check(ready(rope_parameters={"rope_type": "ntk", "factor": 4.0, "mixed_b": 0.6, "rope_theta": 500.0}), wanted)


def test_dynamic_with_alpha_changes_the_base_at_all_lengths():
    base = 500.0 * 1000.0 ** (SIZE / (SIZE - 2))

    check(ready(rope_scaling={"type": "dynamic", "alpha": 1000.0}, base=500.0),
          [base ** (-i / PAIRS) for i in range(PAIRS)])


@pytest.mark.parametrize("kind", ["deepseek_yarn", "deepseek_llama_scaling"])
def test_deepseeks_types_are_yarn_with_their_mscale(kind):
    values = {"factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7, "mscale_all_dim": 0.4}

    mine, yarn = (ready(rope_parameters={"rope_type": name} | values) for name in (kind, "yarn"))

    assert all(torch.equal(a, b) for a, b in zip(turned(mine, 9), turned(yarn, 9), strict=True))


@pytest.mark.parametrize(("original", "factors", "mscale"), [(128, "short_factor", 1.1), (16, "long_factor", 1.2)])
def test_longropes_own_mscale_is_that_of_its_side_of_the_border(original, factors, mscale):
    layer = ready(rope_parameters={"rope_type": "longrope", "original_max_position_embeddings": original,
                                   "short_mscale": 1.1, "long_mscale": 1.2, "factor": 4.0} | LISTS)

    check(layer, [1 / (LISTS[factors][i] * 10000.0 ** (i / PAIRS)) for i in range(PAIRS)], mscale)


@pytest.mark.parametrize(("is_interleaved", "axes"), [
    (False, [0] * 8 + [1] * 5 + [2] * 3), (True, [0, 1, 2] * 3 + [0, 1, 0, 0, 1, 0, 0]),
], ids=["sections", "interleaved"])
def test_each_frequency_of_mrope_takes_one_of_three_positions(is_interleaved, axes):
    layer = ready(rope_parameters={"rope_type": "default", "mrope_section": [8, 5, 3],
                                   "mrope_interleaved": is_interleaved})
    positions = torch.tensor([[3, 9], [5, 9], [11, 9]])
    x = torch.randn(2, SIZE)

    out, _ = layer(positions, x)

    for i, axis in enumerate(axes):
        angle = positions[axis, 0].item() * 10000.0 ** (-i / PAIRS)
        wanted = x[0, i] * math.cos(angle) - x[0, i + PAIRS] * math.sin(angle)
        torch.testing.assert_close(out[0, i], wanted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out[1:], layer(torch.tensor([9]), x[1:])[0])      # text: three equal positions


@pytest.mark.parametrize(("parameters", "error", "said"), [
    ({"rope_type": "mllama4", "factor": 2.0, "low_freq_factor": 1, "high_freq_factor": 4}, NotBuiltError, "mllama4"),
    ({"rope_type": "default", "use_fope": True}, NotBuiltError, "default"),
    ({"rope_type": "spiral"}, ConfigError, "proportional"),
    ({"rope_type": "default", "mrope_section": [8, 5]}, ConfigError, "three numbers whose sum is 16"),
], ids=["mllama4", "fope", "unknown", "sections"])
def test_what_has_no_code_is_refused_by_name(parameters, error, said):
    with pytest.raises(error, match=said):
        get_rope(SIZE, rope_parameters=parameters)


def test_dual_chunk_attention_is_refused_by_name():
    with pytest.raises(ConfigError, match="dual_chunk_attention_config"):
        get_rope(SIZE, dual_chunk_attention_config={"chunk_size": 8})
