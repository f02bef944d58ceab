"""Objects that only files written for vLLM use: inner models, operators with a forward for each device, Triton."""

import pytest
import torch
from tiny_llama import make_checkpoint
from torch import nn

from weft import LLM, SamplingParams
from weft.compat.vllm.finder import answering
from weft.errors import NotBuiltError
from weft.models.registry import ModelRegistry
from weft.models.vllm.custom_op import CustomOp, PluggableLayer
from weft.models.vllm.generations import adapted
from weft.models.vllm.inner_model import programmed_class

INNER = """
from torch import nn
from vllm.model_executor.custom_op import CustomOp
from vllm.model_executor.models.utils import init_vllm_registered_model, maybe_prefix
import torch.nn.functional as F

@CustomOp.register("my_silu_and_mul")
class Act(CustomOp):
    def forward_native(self, x):
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate) * up

    def forward_cuda(self, x):
        raise RuntimeError("there is no GPU")

class MyForCausalLM(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        self.language_model = init_vllm_registered_model(
            vllm_config=vllm_config, hf_config=vllm_config.model_config.hf_config,
            prefix=maybe_prefix(prefix, "language_model"), architectures=["LlamaForCausalLM"])
        for layer in self.language_model.model.layers:
            layer.mlp.act_fn = Act()

    def embed_input_ids(self, input_ids):
        return self.language_model.embed_input_ids(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.language_model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states):
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights):
        return {f"language_model.{name}" for name in self.language_model.load_weights(weights)}
"""
TRITON = """
from vllm.triton_utils import HAS_TRITON, tl, triton

@triton.autotune(configs=[triton.Config({"BLOCK": 16}, num_warps=4)], key=["n"])
@triton.heuristics({"EVEN": lambda args: args["n"] % 2 == 0})
@triton.jit
def kernel(x, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    pass

@triton.jit(do_not_specialize=["n"])
def other(x, n):
    pass
"""


def answers(directory, **more):
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    prompts = [{"prompt_token_ids": [1 + i, 7, 9 + i] * (1 + 2 * i)} for i in range(3)]
    with LLM(str(directory), dtype="float32", max_model_len=64, use_tqdm_on_load=False, num_threads=1, **more) as llm:
        return [output.outputs[0].token_ids for output in llm.generate(prompts, params, use_tqdm=False)]


def test_an_inner_model_and_a_custom_operator_give_the_descriptions_tokens(tmp_path):
    directory = make_checkpoint(tmp_path / "model")
    file = tmp_path / "inner.py"
    file.write_text(INNER)

    assert answers(directory, model_file=str(file)) == answers(directory)


def test_an_inner_model_is_the_registered_class_before_wefts_own(monkeypatch):
    class Mine(nn.Module):
        def __init__(self, *, vllm_config, prefix=""): ...
        def embed_input_ids(self, input_ids): ...
        def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None): ...
        def compute_logits(self, hidden_states): ...
        def load_weights(self, weights): ...

    assert programmed_class(["NobodysModel", "LlamaForCausalLM"]).__module__ == "weft.models.library.llama"
    monkeypatch.setattr(ModelRegistry, "models", type(ModelRegistry.models)())
    ModelRegistry.register_model("LlamaForCausalLM", Mine)
    assert programmed_class(["LlamaForCausalLM"]) is Mine


def test_a_model_that_weft_only_describes_cannot_be_an_inner_one():
    with pytest.raises(NotBuiltError, match=r"BloomForCausalLM.*a description cannot be a part of a model"):
        programmed_class(["BloomForCausalLM"])


@pytest.mark.parametrize("base", [CustomOp, PluggableLayer])
def test_a_custom_operator_runs_its_forward_for_the_cpu_before_the_native_one(base):
    class Native(base):
        def forward_native(self, x, factor=2):
            return x * factor

    class Cpu(Native):
        def forward_cpu(self, x):
            return x * 3

    x = torch.ones(2)
    assert Native()(x).tolist() == [2, 2] and Native()(x, factor=5).tolist() == [5, 5]
    assert Cpu()(x).tolist() == [3, 3]
    assert base.register("native", dynamic=True)(Native) is Native and Native.name == "native"
    assert base.register_oot(Native)(Cpu) is Cpu
    assert not Native.enabled()
    with pytest.raises(NotBuiltError, match=r"Nothing\.forward.*expected forward_native or forward_cpu"):
        type("Nothing", (base,), {"__qualname__": "Nothing"})()(x)


def test_a_file_with_triton_kernels_imports_and_calling_one_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "with_kernels.py").write_text(TRITON)
    monkeypatch.syspath_prepend(str(tmp_path))
    with answering():
        import with_kernels

    assert not with_kernels.HAS_TRITON
    assert with_kernels.triton.cdiv(7, 2) == 4
    assert [with_kernels.triton.next_power_of_2(n) for n in (0, 1, 5, 8)] == [1, 1, 8, 8]
    with pytest.raises(NotBuiltError, match=r"triton kernel = 'kernel'.*in plain torch"):
        with_kernels.kernel[(1,)](torch.ones(2), 2, BLOCK=16)
    with pytest.raises(NotBuiltError, match="'other'"):
        with_kernels.other[lambda meta: (1,)](torch.ones(2), 2)


def test_embeddings_of_media_by_their_older_name_have_todays():
    class Older(nn.Module):
        def __init__(self, *, vllm_config, prefix=""):
            super().__init__()

        def get_input_embeddings(self, input_ids, multimodal_embeddings=None): ...
        def get_multimodal_embeddings(self, **kwargs):
            return [kwargs["pixel_values"] + 1]
        def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None): ...
        def compute_logits(self, hidden_states, sampling_metadata=None): ...
        def load_weights(self, weights): ...

    class Both(Older):
        def embed_multimodal(self, **kwargs):
            return "today's"

    class Flat(Older):
        merge_by_field_config = True

    assert not hasattr(Older, "embed_multimodal")
    [older], [flat] = (adapted(cls)(vllm_config=None).embed_multimodal(pixel_values=torch.zeros(2, 3))
                       for cls in (Older, Flat))
    assert torch.equal(older, torch.ones(1, 2, 3))      # a dimension of requests before the items'
    assert torch.equal(flat, torch.ones(2, 3))
    assert adapted(Both)(vllm_config=None).embed_multimodal() == "today's"
