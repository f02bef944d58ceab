"""Decode steps of marked programmed models are recorded: bitwise the same answers, or no recording."""

import logging

import pytest
import torch
from engine_answers import core_answers
from isa_levels import native_levels
from programmed_llama import LlamaAttention, LlamaModel, MyLlama
from tiny_llama import make_checkpoint
from torch import nn

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.errors import ConfigError
from weft.layers.public import RMSNorm, ignore_torch_compile, support_torch_compile
from weft.resolve.engine_config import resolve_engine_config

pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")

PROMPTS = [[1 + i, 7, 9 + 2 * i, 5, 30 + i] for i in range(5)]
LENGTHS = (12, 30, 21)

@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def make_core(directory, cls=MyLlama, **options):
    args = EngineArgs(model=str(directory), model_class=cls, max_model_len=128, num_threads=1, use_tqdm_on_load=False,
                      max_num_seqs=8, max_logprobs=-1, logprobs_mode="raw_logits", **options)
    return EngineCore(resolve_engine_config(args, Machine.detect()))


def answers(core, prompts=PROMPTS, *, max_tokens=LENGTHS):
    return core_answers(core, prompts, max_tokens=max_tokens)


def shapes(core):
    """[query lengths of the steps that are recorded] for each recorded module."""
    return [{shape for shape, _ in module.steps._recordings} for module in core.runner.model.recorded]


def refusals(core):
    return [module.steps.refusal for module in core.runner.model.recorded]


def with_inner(inner):
    """MyLlama with another class of its inner model, a subclass of LlamaModel."""
    def init(self, **options):
        MyLlama.__init__(self, **options)
        self.model.__class__ = inner

    return type("Outer", (MyLlama,), {"__init__": init})


def around(change):
    """MyLlama with a changed forward of its marked inner model: change(self, forward, *arguments)."""
    return with_inner(type("Changed", (LlamaModel,), {
        "forward": lambda self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None: change(
            self, lambda *given: LlamaModel.forward(self, *given), input_ids, positions)}))


Plain = with_inner(ignore_torch_compile(type("Unmarked", (LlamaModel,), {})))
Whole = support_torch_compile(type("Whole", (MyLlama,), {}))


@pytest.mark.parametrize("cls", [MyLlama, Whole])
@pytest.mark.parametrize("options", [{}, {"dtype": "bfloat16"}, {"quantization": "int8", "dtype": "bfloat16"}], ids=str)
def test_recorded_steps_give_bitwise_the_logits_of_unrecorded_ones(directory, cls, options):
    plain, core = make_core(directory, Plain, **options), make_core(directory, cls, **options)

    assert answers(core) == answers(plain)
    assert shapes(core) == [{(1,) * 5, (1,) * 3, (1,) * 2}]          # as the sequences end
    assert plain.runner.model.recorded == []


def test_enforce_eager_records_nothing(directory):
    core = make_core(directory, enforce_eager=True)

    assert answers(core) == answers(make_core(directory))
    assert shapes(core) == [set()]


def test_a_replay_is_compared_with_the_step_itself_once(directory):
    calls = []
    core = make_core(directory, around(lambda self, forward, ids, positions: calls.append(len(ids)) or forward(
        ids, positions)))

    answers(core, PROMPTS[:1], max_tokens=(12,))

    assert calls[-3:] == [1, 1, 1]           # the first decode runs, the second is recorded, the third is compared


def test_a_long_prompt_in_between_takes_no_memory_from_a_recording(directory):
    core = make_core(directory, enable_prefix_caching=False)
    before = answers(core)

    answers(core, [[3] * 100])

    assert answers(core) == before


def test_memory_of_a_recording_is_what_a_layer_needs_and_not_what_all_need(directory):
    def used(layers):
        core = make_core(directory, hf_overrides={"num_hidden_layers": layers}, load_format="dummy")
        answers(core)
        return core.runner.model.recorded[0].steps._arena.num_bytes

    assert used(6) == used(2) > 0


@pytest.mark.parametrize(("change", "spoiler"), [
    (lambda self, forward, ids, positions: forward(ids, positions) * 2, "aten::mul.Tensor"),
    (lambda self, forward, ids, positions: forward(ids, positions).add_(1), "aten::add_.Tensor"),
    (lambda self, forward, ids, positions: forward(ids, positions + 1), "aten::add.Tensor"),
    (lambda self, forward, ids, positions: forward(ids[: positions[0].item() + 99], positions), "aten::item"),
    (lambda self, forward, ids, positions: forward(ids, positions.mul_(2)), "aten::mul_.Tensor"),
], ids=["scaled", "in place", "moved", "branch on data", "positions in place"])
def test_torch_operators_within_the_module_are_not_recorded_and_say_so(directory, caplog, change, spoiler):
    caplog.set_level(logging.DEBUG, "weft")
    cls = around(change)
    core = make_core(directory, cls)

    assert answers(core) == answers(make_core(directory, cls, enforce_eager=True))
    assert shapes(core) == [set()]
    assert spoiler in refusals(core)[0]
    assert f"steps are not recorded: {refusals(core)[0]}" in caplog.text


def test_a_module_that_reads_what_is_not_its_argument_is_found_out_and_told(directory, caplog):
    class Reader(LlamaModel):
        def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
            return super().forward(self.seen, positions)

    class Hidden(with_inner(Reader)):
        def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
            self.model.seen = input_ids
            return self.model(None, positions)

    core = make_core(directory, Hidden)

    assert answers(core) == answers(make_core(directory, Plain))
    assert refusals(core) == ["a replay gave other numbers than the step itself"]
    assert "Reader is marked by support_torch_compile, but its steps are not recorded" in caplog.text


def test_hooks_and_other_forwards_within_the_module_run_in_every_step(directory):
    core, plain = make_core(directory), make_core(directory, Plain)
    answers(core)
    calls = []
    [handles] = core.apply_model(lambda model: [
        model.model.layers[0].register_forward_hook(lambda *_: calls.append("hook")),
        model.model.norm.register_forward_pre_hook(lambda *_: calls.append("norm"))])

    assert answers(core, PROMPTS[:1], max_tokens=(8,)) == answers(plain, PROMPTS[:1], max_tokens=(8,))
    assert calls.count("hook") == calls.count("norm") == 8
    assert shapes(core) == [set()]

    for handle in handles:
        handle.remove()
    answers(core)
    assert shapes(core) != [set()]
    [layer] = core.apply_model(lambda model: model.model.layers[1])
    layer.forward = lambda positions, hidden, residual: (hidden, residual)
    changed = answers(core, PROMPTS[:1], max_tokens=(8,))
    plain.runner.model.module.model.layers[1].forward = layer.forward
    assert changed == answers(plain, PROMPTS[:1], max_tokens=(8,))


def test_a_hook_on_the_marked_module_runs_around_its_recording(directory):
    core, calls = make_core(directory), []
    core.apply_model(lambda model: model.model.register_forward_hook(lambda *_: calls.append(1)) and None)

    answers(core, PROMPTS[:1], max_tokens=(8,))

    assert len(calls) == 8
    assert shapes(core) == [{(1,)}]


def test_a_result_that_is_kept_is_not_overwritten_by_later_steps(directory):
    kept = []

    class Keeps(MyLlama):
        def forward(self, *args, **kwargs):
            kept.append(super().forward(*args, **kwargs))
            return kept[-1]

    core = make_core(directory, Keeps)
    answers(core, PROMPTS[:1], max_tokens=(8,))

    assert shapes(core) == [{(1,)}]
    assert len({tuple(x[0].tolist()) for x in kept[-6:]}) == 6


@pytest.mark.parametrize("says", [True, False])
def test_enable_if_decides_by_the_configuration(directory, says):
    seen = []
    cls = support_torch_compile(enable_if=lambda config: seen.append(config.model_config.hf_config) or says)(
        type("Sometimes", (LlamaModel,), {}))

    assert len(make_core(directory, with_inner(cls)).runner.model.recorded) == says
    assert seen[0].num_hidden_layers == 2


@pytest.mark.parametrize("mark", [
    support_torch_compile,
    support_torch_compile(dynamic_arg_dims={"input_ids": 0, "positions": -1, "inputs_embeds": [0]}),
    support_torch_compile(dynamic_arg_dims={"hidden": 0}, shape_invariants=lambda hidden: None, is_encoder=True),
], ids=["bare", "dimensions", "invariants"])
def test_the_mark_leaves_the_class_as_it_is(mark):
    class Mine(nn.Module):
        def forward(self, input_ids, positions, inputs_embeds, hidden):
            return hidden

    before = dict(vars(Mine))

    assert mark(Mine) is Mine
    assert {name for name in vars(Mine) if name not in before} == {"_weft_compile_mark"}
    assert vars(Mine)["forward"] is before["forward"]


def test_a_dimension_of_an_argument_that_forward_does_not_have_is_refused():
    with pytest.raises(ConfigError, match=r"dynamic_arg_dims = 'positons': expected an argument of "
                                          r"LlamaAttention\.forward: positions, hidden"):
        support_torch_compile(dynamic_arg_dims={"positons": 0})(LlamaAttention)


def test_q_norms_on_heads_within_qkv_are_recorded(directory):
    class Normed(LlamaAttention):
        def forward(self, positions, hidden):
            q, k, v = self.qkv_proj(hidden)[0].split(self.qkv_proj.output_partition_sizes, dim=-1)
            q = self.q_norm(q.view(*q.shape[:-1], -1, 8)).view(q.shape)
            return self.o_proj(self.attn(*self.rotary_emb(positions, q, k), v))[0]

    class Model(MyLlama):
        def __init__(self, *, vllm_config, prefix=""):
            super().__init__(vllm_config=vllm_config, prefix=prefix)
            for layer in self.model.layers:
                layer.self_attn.__class__, layer.self_attn.q_norm = Normed, RMSNorm(8, has_weight=False)

    core = make_core(directory, Model)

    assert answers(core) == answers(make_core(directory, Model, enforce_eager=True))
    assert shapes(core) == [{(1,) * 5, (1,) * 3, (1,) * 2}]


def test_a_bad_token_id_ends_its_request_and_no_other(directory):
    core = make_core(directory)
    wanted = answers(core)
    step = core.runner.model.recorded[0].steps
    before = set(step._recordings)

    with pytest.raises(IndexError, match="expected ids from 0 to 258"), torch.inference_mode():
        core.runner.model.module.embed_input_ids(torch.tensor([259]))

    assert answers(core) == wanted and set(step._recordings) == before
