"""Mamba's mixers are Transformers', whatever a sequence is cut into and whoever is in the step."""

import pytest
import torch
from isa_levels import native_levels
from transformers import FalconMambaConfig, Mamba2Config, MambaConfig
from transformers.models.falcon_mamba.modeling_falcon_mamba import FalconMambaMixer
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.architectures.spec import MambaSpec
from weft.checkpoint.routing import Router, take_apart
from weft.layers.context import LayerContext
from weft.layers.layer import Layer, allocate
from weft.layers.mamba import Mamba, Mamba2
from weft.ops.scan_plan import ScanPlan
from weft.ops.step import Step
from weft.ops.tape import Recording

SIZES = {"hidden_size": 48, "num_hidden_layers": 1, "vocab_size": 100, "state_size": 12, "conv_kernel": 4}
HEADS = SIZES | {"num_heads": 6, "head_dim": 16, "n_groups": 1}
MIXERS = {
    "mamba": (MambaMixer, MambaConfig(**SIZES)),
    "mamba-bias": (MambaMixer, MambaConfig(**SIZES | {"conv_kernel": 3}, use_bias=True, use_conv_bias=False,
                                           time_step_rank=5)),
    "falcon-mamba": (FalconMambaMixer, FalconMambaConfig(**SIZES, mixer_rms_eps=1e-3)),
    "mamba2": (Mamba2Mixer, Mamba2Config(**HEADS)),
    "mamba2-groups": (Mamba2Mixer, Mamba2Config(**HEADS | {"n_groups": 3}, use_bias=True, time_step_limit=(0.01, 0.5))),
}
mixers = pytest.mark.parametrize("name", MIXERS)
kernels = pytest.mark.parametrize("isa", ["reference", *native_levels()])
TOLERANCE = 1e-5       # of the largest result, in float32; Transformers' chunks are products of sums of decays


def theirs(name):
    """Transformers' mixer with weights of a size that makes every term count."""
    kind, config = MIXERS[name]
    torch.manual_seed(0)
    mixer = kind(config, layer_idx=0, initialize_mixer_weights=False).eval()
    for key, parameter in mixer.named_parameters():
        if key.endswith(("bias", "D", "norm.weight")):
            parameter.data.uniform_(-1, 1)
        elif key == "A_log":
            parameter.data.uniform_(0, 2)
        else:
            parameter.data.normal_(std=0.3)
    return mixer


def ours(name, mixer, isa, num_states=8):
    """The described mixer with the weights of Transformers', its states full of NaN."""
    config = MIXERS[name][1]
    architecture = {MambaMixer: "MambaForCausalLM", FalconMambaMixer: "FalconMambaForCausalLM",
                    Mamba2Mixer: "Mamba2ForCausalLM"}[type(mixer)]
    spec = families()[architecture].describe(ConfigReader(config.to_dict()))
    part, router = spec.blocks[0].mixer, Router(spec.names)
    layer = (Mamba if isinstance(part, MambaSpec) else Mamba2)(part, spec.hidden_size,
                                                               context=LayerContext(torch.float32, isa=isa))
    allocate(layer, "cpu")
    homes = {f"blocks.0.mixer.{part}": home.view for part, home in layer.homes().items()}
    for key, value in mixer.named_parameters():
        route = router.route(f"backbone.layers.0.mixer.{key}")
        homes.pop(route.homes[0]).copy_(take_apart(route.layout, value.data, [len(value)])[0])
    assert not homes
    for module in layer.modules():
        if isinstance(module, Layer):
            module.finish_loading()
    layer.bind_cache(tuple(torch.full(shape, torch.nan, dtype=dtype) for shape, dtype in
                           zip(layer.cache_shapes(num_states), layer.cache_dtypes, strict=True)), 0)
    return layer


def step(query_lens, read_ids, write_ids):
    plan = ScanPlan(query_lens=tuple(query_lens), read_ids=tuple(read_ids), write_ids=tuple(write_ids))
    ids = torch.zeros(sum(query_lens), dtype=torch.int64)
    return Step(input_ids=ids, positions=ids, query_lens=tuple(query_lens), caches=(plan,))


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@mixers
@kernels
@torch.inference_mode()
def test_a_whole_sequence_is_what_transformers_computes(name, isa):
    mixer, x = theirs(name), random(23, 48)
    expected = mixer(x[None])[0]

    out = ours(name, mixer, isa)(x, step([23], [None], [3]))

    assert expected.abs().mean() > 0.1
    assert (out - expected).abs().max() < TOLERANCE * expected.abs().max()


@mixers
@kernels
@torch.inference_mode()
def test_chunks_company_and_running_again_change_nothing(name, isa):
    mixer, x, other = theirs(name), random(23, 48), random(9, 48, seed=2)
    layer = ours(name, mixer, isa)
    expected = layer(x, step([23], [None], [3])).clone()
    residual = random(9, 48, seed=3)

    first = layer(torch.cat([x[:7], other]), step([7, 9], [None, None], [0, 1]))[:7].clone()
    again = layer(torch.cat([x[:7], other]), step([7, 9], [None, None], [0, 1]))[:7].clone()
    second = [layer(torch.cat([x[7:22], other]), step([15, 9], [0, 1], [2, 4]))[:15].clone() for _ in range(2)]
    last = layer(x[22:], step([1], [2], [5]))
    added = layer(other, step([9], [None], [6]), None, residual.clone(), 0.5).clone()

    parts = torch.cat([first, second[1], last])
    allowed = TOLERANCE if isa == "reference" else 0.0                     # torch's sums hang on shapes
    assert (parts - expected).abs().max() <= allowed * expected.abs().max()
    assert torch.equal(again, first)
    assert torch.equal(second[0], second[1])
    torch.testing.assert_close(added, residual + 0.5 * layer(other, step([9], [None], [6])), atol=1e-5, rtol=1e-5)


@mixers
@pytest.mark.parametrize("isa", native_levels())
@torch.inference_mode()
def test_a_recorded_step_goes_on_from_the_states_that_the_next_plan_names(name, isa):
    layer, x, residual = ours(name, theirs(name), isa), random(2, 48), random(2, 48, seed=3)
    first = step([1, 1], [None, None], [0, 1])
    layer(x, first, None, residual.clone())                                            # warm: scratch memory is there
    recording, added = Recording(isa), residual.clone()
    with recording:
        layer(x, first, None, added)
    assert recording.spoilers == set()
    expected = layer(x, step([1, 1], [0, 1], [4, 5]), None, residual.clone())

    added.copy_(residual)
    first.assign(step([1, 1], [0, 1], [2, 3]))
    recording.replay()

    assert torch.equal(added, expected)
    assert torch.equal(layer.scan_states[2:4], layer.scan_states[4:6])
    assert torch.equal(layer.conv_states[2:4], layer.conv_states[4:6])


def test_a_layer_says_what_a_state_of_it_takes():
    spec = MambaSpec(inner_size=96, state_size=12, conv_size=4, dt_rank=3)
    layer = Mamba(spec, 48, context=LayerContext(torch.bfloat16))

    assert layer.need.bytes_per_state == 3 * 96 * 2 + 12 * 96 * 4
    assert layer.cache_shapes(5) == ((5, 3, 96), (5, 12, 96))
    assert layer.cache_dtypes == (torch.bfloat16, torch.float32)
