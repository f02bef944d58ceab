"""Parts that a user's one file brings, with their layers and words, run as weft's own do; wrong ones are refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llama import LAYERS, make_checkpoint

from weft import LLM, AsyncLLM, EngineArgs, SamplingParams
from weft.architectures.spec import MixerSpec, MLPSpec, NormSpec, Rope, part
from weft.errors import DescriptionError
from weft.layers.context import LayerContext
from weft.layers.layer import Layer
from weft.layers.norm import optional_norm
from weft.layers.registry import layer_of, register_part

# A norm of plain torch, attention with a gate behind it, a rope whose positions begin at five.
MINE = '''
import torch
from weft.architectures.parts import attention, decoder, gated_mlp, llama_names, rope
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, NormSpec, Rope, part
from weft.layers.attention import SelfAttention
from weft.layers.layer import Layer, add_to
from weft.layers.linear import Linear
from weft.layers.registry import register_part
from weft.layers.rope import RotaryPositions
from weft.models.decoder import Block


@part
class PlainNorm(NormSpec):
    eps: float = 1e-5


class PlainNormLayer(Layer):
    def __init__(self, spec, hidden_size, *, context, role=None):
        super().__init__()
        self.eps, self.weight = spec.eps, self.parameter(hidden_size, context=context)

    def forward(self, x, residual=None, alpha=1.0):
        wide = x.float()
        out = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return add_to(residual, out.to(x.dtype) * self.weight, alpha)


@part
class GatedAttention(AttentionSpec):
    gate_bias: bool = False

    def describe(self, *, sizes=True):
        return super().describe(sizes=sizes) + ", gated"


class GatedAttentionLayer(SelfAttention):
    def __init__(self, spec, hidden_size, *, context):
        super().__init__(spec, hidden_size, context=context)
        self.gate = Linear(hidden_size, {"gate": spec.num_heads * spec.head_dim}, bias=False, context=context)

    def forward(self, x, step, angles, residual=None, alpha=1.0):
        return self.out(self.attended(x, step, angles) * torch.sigmoid(self.gate(x)), residual, alpha)

    def homes(self):
        return super().homes() | self.gate.homes()


@part
class LateRope(Rope):
    """Positions are counted from `first`."""

    first: int


class LatePositions(RotaryPositions):
    def __init__(self, rope, *, max_model_len):
        super().__init__(rope, max_model_len=max_model_len)
        self.first = rope.first

    def angles(self, positions, dtype):
        return super().angles(positions + self.first, dtype)


@part
class HalvedBlock(BlockSpec):
    """A block that leaves its result halved and doubled again."""


class HalvedBlockLayer(Block):
    def forward(self, hidden, step, angles):
        return super().forward(hidden, step, angles).div_(2).mul_(2)


register_part(PlainNorm, PlainNormLayer)
register_part(HalvedBlock, HalvedBlockLayer)
register_part(GatedAttention, GatedAttentionLayer)
register_part(LateRope, LatePositions)


@architecture("LlamaForCausalLM")
def mine(c):
    norm, plain = PlainNorm(), attention(c, positions=rope(c))
    values = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    turned = LateRope(theta=plain.positions.theta, rotary_dim=plain.positions.rotary_dim, first=5)
    block = HalvedBlock(mixer=GatedAttention(**values | {"positions": turned}), ffn=gated_mlp(c), mixer_norm=norm,
                        ffn_norm=norm)
    return decoder(c, blocks=[block] * c.positive("num_hidden_layers"), final_norm=norm, names=llama_names(
        {"model.layers.{i}.self_attn.gate_proj": "blocks.{i}.mixer.gate"}))
'''
SCALED = """
from weft.architectures.parts import attention, decoder, gated_mlp, llama_names, rms_norm, rope
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, MLPSpec, part
from weft.layers.layer import add_to
from weft.layers.mlp import MLP
from weft.layers.registry import register_part


@part
class ScaledMLP(MLPSpec):
    pass


class ScaledMLPLayer(MLP):
    def __init__(self, spec, hidden_size, *, context):
        super().__init__(spec, hidden_size, context=context)
        self.gamma = self.parameter(hidden_size, context=context)

    def forward(self, x, residual=None, alpha=1.0):
        return add_to(residual, super().forward(x) * self.gamma, alpha)


register_part(ScaledMLP, ScaledMLPLayer)


@architecture("LlamaForCausalLM")
def scaled(c):
    norm, plain = rms_norm(c), gated_mlp(c)
    ffn = ScaledMLP(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    block = BlockSpec(mixer=attention(c, positions=rope(c)), ffn=ffn, mixer_norm=norm, ffn_norm=norm)
    return decoder(c, blocks=[block] * c.positive("num_hidden_layers"), final_norm=norm, names=llama_names(
        {"model.layers.{i}.mlp.gamma": "blocks.{i}.ffn.gamma"}))
"""
PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(4)]
PARAMS = SamplingParams(temperature=0, max_tokens=10, ignore_eos=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    """A tiny Llama whose attention is gated by 1/2, and whose product out is doubled: it computes as the plain one."""
    directory = make_checkpoint(tmp_path_factory.mktemp("gated"))
    state = load_file(directory / "model.safetensors")
    for i in range(LAYERS):
        stem = f"model.layers.{i}.self_attn"
        state[f"{stem}.o_proj.weight"] *= 2
        state[f"{stem}.gate_proj.weight"] = torch.zeros(32, 32)
    save_file(state, directory / "model.safetensors")
    return directory


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    return answers(make_checkpoint(tmp_path_factory.mktemp("plain")))


def answers(directory, **options):
    options = {"dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False, "num_threads": 1} | options
    with LLM(model=str(directory), **options) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, PARAMS, use_tqdm=False)]


@pytest.mark.parametrize("options", [
    {}, {"cpu_isa": "reference"}, {"max_num_batched_tokens": 7, "max_num_seqs": 3},
    {"kv_cache_memory_bytes": 12 * 16 * 256},
], ids=["in company", "reference", "chunked", "preempted"])
def test_norm_mixer_and_positions_of_one_file_give_the_tokens_of_the_parts_that_they_equal(gated, file, wanted,
                                                                                          options):
    assert answers(gated, model_file=str(file), **options) == wanted


def test_inspect_tells_parts_of_ones_own_in_their_words(gated, file):
    command = [sys.executable, "-m", "weft.cli.main", "inspect", gated, "--model-file", file]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "4 heads, 2 kv heads of 8, gated" in out
    assert "PlainNorm" in out and "LateRope" in out and "HalvedBlock" in out
    assert "every tensor has a home" in out


def test_a_parameter_that_a_subclass_adds_is_filled_under_its_attributes_name(tmp_path, wanted):
    directory, path = make_checkpoint(tmp_path / "model"), tmp_path / "scaled.py"
    path.write_text(SCALED)
    state = load_file(directory / "model.safetensors")
    for i in range(LAYERS):      # the product is doubled and then halved, which is exact
        state[f"model.layers.{i}.mlp.down_proj.weight"] *= 2
        state[f"model.layers.{i}.mlp.gamma"] = torch.full((32,), 0.5)
    save_file(state, directory / "model.safetensors")

    assert answers(directory, model_file=str(path)) == wanted


def test_a_layer_that_homes_leaves_out_is_refused_rather_than_left_without_numbers(gated, tmp_path):
    path = tmp_path / "forgetful.py"
    path.write_text(MINE.replace("    def homes(self):\n        return super().homes() | self.gate.homes()\n", ""))

    with pytest.raises(DescriptionError, match=r"blocks\.0\.mixer\.gate\.\w+ = .*GatedAttentionLayer.*homes\(\)"):
        answers(gated, model_file=str(path))


def test_the_engines_own_process_runs_the_file_too(gated, file, wanted):
    async def answer():
        options = {"dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False, "num_threads": 1}
        engine = AsyncLLM.from_engine_args(EngineArgs(model=str(gated), model_file=str(file), **options))
        try:
            return [output async for output in engine.generate(PROMPTS[0], PARAMS, "one")][-1].outputs[0].token_ids
        finally:
            engine.shutdown()

    assert asyncio.run(answer()) == wanted[0]


@part
class Lonely(NormSpec):
    eps: float = 1e-5


@part
class OtherMLP(MLPSpec):
    """As its base, but without a layer of its own."""


def test_a_part_without_a_layer_is_told_by_name():
    with pytest.raises(DescriptionError, match=r"part = 'Lonely': expected a part with a layer. .*\(Lonely"):
        optional_norm(Lonely(), 8, context=LayerContext(torch.float32))


def test_a_part_does_not_run_as_the_part_that_it_is_made_from():
    with pytest.raises(DescriptionError, match="part = 'OtherMLP'"):
        layer_of(OtherMLP(intermediate_size=8, act="silu", gated=True))


class NoForward(Layer):
    def __init__(self, spec, hidden_size, *, context, role=None):
        super().__init__()

    def forward(self, x):
        return x


class NoRole(Layer):
    def __init__(self, spec, hidden_size, *, context):
        super().__init__()


class NoLayer:
    pass


@pytest.mark.parametrize(("spec", "layer", "said"), [
    (Lonely, NoForward, r"NoForward.forward = .*expected forward\(self, x, residual, alpha\)"),
    (Lonely, NoRole, r"NoRole.__init__ = .*expected __init__\(self, spec, hidden_size, \*, context, role\)"),
    (Lonely, NoLayer, "register_part.layer_class = 'NoLayer': expected a class that is a weft.layers.layer.Layer"),
    (int, NoForward, "register_part.spec_class = 'int': expected a class marked with @part that is one of MixerSpec"),
    (NormSpec, NoForward, "register_part.spec_class = 'NormSpec'"),
    (Rope, NoLayer, r"layer_class = 'NoLayer': expected a method angles\(self, positions, dtype\)"),
], ids=["forward", "constructor", "no layer", "no part", "only a kind", "positions"])
def test_what_cannot_run_is_told_when_it_is_registered(spec, layer, said):
    before = vars(spec).get("layer_class")

    with pytest.raises(DescriptionError, match=said):
        register_part(spec, layer)

    assert vars(spec).get("layer_class") is before


def test_a_mixer_needs_no_words_of_its_own():
    @part
    class Shift(MixerSpec):
        steps: int
        scale: float = 1.0

    assert Shift(steps=2, scale=0.5).describe() == "Shift (steps 2, scale 0.5)"
    assert Shift(steps=2).describe(sizes=False) == "Shift" and Shift(steps=2).features() == []
