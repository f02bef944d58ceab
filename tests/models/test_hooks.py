"""Hooks and replaced `forward`s on parts of a described model count in every step, recorded ones too, until they go."""

import time

import pytest
import torch
from isa_levels import native_levels
from tiny_llama import make_checkpoint
from torch import nn

from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.errors import NotBuiltError
from weft.layers.linear import Linear
from weft.layers.mlp import MLP
from weft.layers.norm import Norm
from weft.resolve.engine_config import resolve_engine_config

PROMPTS = [[1 + i, 7, 9 + 2 * i, 5, 30 + i] for i in range(3)]
needs_recordings = pytest.mark.skipif(not native_levels(), reason="no native kernels here")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def core(directory):
    args = EngineArgs(model=str(directory), max_model_len=128, num_threads=1, use_tqdm_on_load=False, dtype="float32",
                      enable_prefix_caching=False)
    return EngineCore(resolve_engine_config(args, Machine.detect()))


def answers(core):
    """Token ids of all prompts together, eight each."""
    for i, prompt in enumerate(PROMPTS):
        params = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
        core.add(EngineRequest(request_id=str(i), prompt_token_ids=prompt, eos_token_ids=[], params=params,
                               arrival_time=time.monotonic()))
    found = [[] for _ in PROMPTS]
    while core.has_unfinished:
        for output in core.step().outputs:
            found[int(output.request_id)] += output.new_token_ids
    return found


def model_of(core):
    return core.apply_model(lambda model: model)[0]


PARTS = ("embedding", "blocks.0", "blocks.1.mixer", "blocks.0.mixer.qkv", "blocks.0.mixer.paged", "blocks.1.mixer.out",
         "blocks.0.mixer_norm", "blocks.0.ffn_norm", "blocks.1.ffn", "blocks.0.ffn.up", "blocks.0.ffn.down",
         "final_norm", "head", "")


@pytest.mark.parametrize("name", PARTS)
def test_a_hook_on_any_part_sees_every_step(core, name):
    answers(core)                                             # steps are recorded before the hook comes
    rows, part = [], model_of(core).get_submodule(name)
    handle = part.register_forward_hook(lambda module, args, out: rows.append(len(out)))

    answers(core)
    handle.remove()
    answers(core)

    last_rows = [3] * 8 if name == "head" else [15] + [3] * 7
    assert rows == last_rows


def test_a_pre_hook_sees_what_goes_in(core):
    seen = []
    handle = model_of(core).blocks[0].ffn.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))

    answers(core)

    handle.remove()
    assert seen == [(15, 32)] + [(3, 32)] * 7


@pytest.mark.parametrize("name", ["blocks.0.mixer", "blocks.1.ffn", "blocks.0", "final_norm", "blocks.1.mixer.qkv"])
def test_what_a_hook_returns_replaces_the_result(core, name):
    wanted, part = answers(core), model_of(core).get_submodule(name)
    handle = part.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    changed = answers(core)
    handle.remove()

    assert changed != wanted
    assert answers(core) == wanted


@needs_recordings
def test_steps_are_recorded_before_a_hook_not_under_it_and_again_after_it(core):
    steps, rows = model_of(core).steps, []
    answers(core)
    assert steps._recordings
    core.apply_model(lambda model: None)                      # forgets them
    part = model_of(core).blocks[0].ffn
    handle = part.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    answers(core)
    assert not steps._recordings

    handle.remove()
    answers(core)

    assert steps._recordings
    assert type(part) is MLP                                  # and is called without torch's hooks again


def test_forward_of_a_class_can_be_replaced_and_put_back(core, monkeypatch):
    wanted = answers(core)
    with monkeypatch.context() as patch:
        patch.setattr(MLP, "forward", lambda self, x, residual=None, alpha=1.0: residual)
        changed = answers(core)
        assert MLP.__call__ is MLP.forward

    assert changed != wanted
    assert answers(core) == wanted
    assert MLP.__call__ is MLP.forward


@pytest.mark.parametrize("where", ["kept outside", "in apply_model"])
def test_forward_of_a_layer_can_be_replaced_and_put_back(core, where):
    wanted, rows = answers(core), []
    part = model_of(core).blocks[1].ffn

    def forward(x, residual=None, alpha=1.0):
        rows.append(len(x))
        return residual

    if where == "kept outside":
        part.forward = forward
    else:
        core.apply_model(lambda model: setattr(model.blocks[1].ffn, "forward", forward))
    changed = answers(core)
    del part.forward

    assert changed != wanted
    assert rows == [15] + [3] * 7
    assert answers(core) == wanted


def test_a_layer_of_a_subclass_runs_its_own_forward(core):
    wanted, rows = answers(core), []

    class Counting(MLP):
        def forward(self, x, residual=None, alpha=1.0):
            rows.append(len(x))
            return super().forward(x, residual, alpha)

    part = model_of(core).blocks[0].ffn
    core.apply_model(lambda model: setattr(part, "__class__", Counting))
    assert answers(core) == wanted
    assert rows[0] == 15


def test_a_child_that_is_replaced_in_apply_model_counts(core):
    wanted = answers(core)

    class Nothing(nn.Module):
        def forward(self, x, residual=None, alpha=1.0):
            return residual

    core.apply_model(lambda model: setattr(model.blocks[0], "ffn", Nothing()))

    assert answers(core) != wanted


@pytest.mark.parametrize("change", [
    lambda norm: norm.register_forward_hook(print), lambda norm: norm.register_forward_pre_hook(print),
    lambda norm: setattr(norm, "forward", print)])
def test_a_part_that_another_kernel_computes_refuses(tmp_path, change):
    path = make_checkpoint(tmp_path, architectures=["Qwen3ForCausalLM"], model_type="qwen3")
    with LLM(model=str(path), load_format="dummy", max_model_len=64, use_tqdm_on_load=False) as llm:
        [norm] = llm.apply_model(lambda model: model.blocks[0].mixer.q_norm)
        with pytest.raises(NotBuiltError, match=r"expected a (hook|forward) of the mixer"):
            change(norm)


def test_apply_model_prints_the_type_of_the_model(directory, capsys):
    with LLM(model=str(directory), max_model_len=64, use_tqdm_on_load=False) as llm:
        assert llm.apply_model(lambda m: print(type(m))) == [None]

    assert "weft.models.decoder.Decoder" in capsys.readouterr().out


def test_layers_without_hooks_are_called_straight():
    for cls in (Linear, Norm, MLP):
        assert cls.__call__ is cls.forward
