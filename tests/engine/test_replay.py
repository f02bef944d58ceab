"""Decode steps made again from a recording: the same logits, and no recording where it would leave something out."""


import pytest
import torch
from engine_answers import core_answers
from isa_levels import native_levels
from tiny_llama import make_checkpoint
from transformers import Olmo2Config, Olmo2ForCausalLM

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.ops.tape import Recording
from weft.resolve.engine_config import resolve_engine_config

pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def make_core(directory, **options):
    args = EngineArgs(model=str(directory), max_model_len=128, num_threads=1, use_tqdm_on_load=False, max_num_seqs=8,
                      max_logprobs=-1, logprobs_mode="raw_logits", cpu_isa="auto", **options)
    return EngineCore(resolve_engine_config(args, Machine.detect()))


def shapes(core):
    """Query lengths of the steps that are recorded."""
    return set(core.runner.model.module.steps._recordings)


PROMPTS = [[1 + i, 7, 9 + 2 * i, 5, 30 + i] for i in range(5)]
LENGTHS = (12, 30, 21)


def test_replayed_steps_give_bitwise_the_logits_of_the_steps_themselves(directory):
    plain, core = make_core(directory), make_core(directory)
    plain.runner.model.module.steps.refusal = "for this test"

    wanted, found = (core_answers(c, PROMPTS, max_tokens=LENGTHS) for c in (plain, core))

    assert found == wanted
    assert shapes(core) == {(1,) * 5, (1,) * 3, (1,) * 2}            # as the sequences end
    assert not shapes(plain)


def test_norms_behind_the_mixer_and_the_feed_forward_part_are_recorded(tmp_path):
    config = Olmo2Config(vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128)
    Olmo2ForCausalLM(config).save_pretrained(tmp_path)
    plain = make_core(tmp_path, skip_tokenizer_init=True, enforce_eager=True)
    core = make_core(tmp_path, skip_tokenizer_init=True)

    assert core_answers(core, PROMPTS, max_tokens=LENGTHS) == core_answers(plain, PROMPTS, max_tokens=LENGTHS)
    assert shapes(core) == {(1,) * 5, (1,) * 3, (1,) * 2}


def test_enforce_eager_records_nothing(directory):
    core = make_core(directory, enforce_eager=True)

    assert core_answers(core, PROMPTS) == core_answers(make_core(directory), PROMPTS)
    assert not shapes(core)


def test_a_long_prompt_in_between_takes_no_memory_from_a_recording(directory):
    core = make_core(directory, enable_prefix_caching=False)
    before = core_answers(core, PROMPTS)

    core_answers(core, [[3] * 100])

    assert core_answers(core, PROMPTS) == before


def test_what_apply_model_did_to_the_model_counts_in_the_next_step(directory):
    core = make_core(directory, enable_prefix_caching=False)
    core_answers(core, PROMPTS[:1])
    assert shapes(core)

    core.apply_model(lambda model: setattr(model.final_norm, "normalise", torch.zeros_like))

    tokens, _ = core_answers(core, PROMPTS[:1])[0]
    assert tokens == [0] * 12


def test_layers_that_use_torch_are_not_recorded_and_say_so(directory):
    core = make_core(directory, enable_prefix_caching=False)
    wanted = core_answers(core, PROMPTS)
    core.apply_model(lambda model: setattr(
        model.final_norm, "normalise", lambda x, inner=model.final_norm.normalise: inner(x).mul(2).mul_(0.5)))

    assert core_answers(core, PROMPTS) == wanted
    assert core.runner.model.module.steps.refusal == "its layers use aten::mul.Tensor, aten::mul_.Tensor"


@pytest.mark.parametrize("call, spoilers", [
    (lambda x: x.view(4, 2)[1:].transpose(0, 1), set()),
    (lambda x: torch.empty(3) is torch.empty_like(x), set()),
    (lambda x: x.reshape(2, 4), set()),
    (lambda x: x.view(4, 2).t().reshape(8), {"aten::reshape", "aten::clone", "aten::_unsafe_view"}),
    (lambda x: x.add_(1), {"aten::add_.Tensor"}),
    (lambda x: x.view(2, 4).split([1, 1])[0].fill_(3), {"aten::fill_.Scalar"}),
    (lambda x: x[0].item(), {"aten::_local_scalar_dense", "aten::item"}),
])
@torch.inference_mode()
def test_all_that_moves_numbers_in_torch_spoils_a_recording(call, spoilers):
    x = torch.arange(8.0)
    recording = Recording(native_levels()[0])
    with recording:
        call(x)

    assert bool(recording.spoilers) == bool(spoilers)
    assert recording.spoilers <= spoilers


def test_an_error_while_recording_ends_the_recording():
    recording = Recording(native_levels()[0])
    with pytest.raises(ZeroDivisionError), recording:
        raise ZeroDivisionError

    assert len(recording) == 0
