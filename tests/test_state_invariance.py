"""The logits of models with states are bitwise the same alone, in any company, chunked, from snapshots, preempted, with
drafts, run again and recorded: Mamba 1 and 2, and a hybrid of states, a window and full attention, described here.

As test_batch_invariance.py, on the native kernels at every level, in bfloat16 and with quantized weights.
"""

import json
import random
from itertools import cycle

import pytest
import torch
from company import logits
from isa_levels import native_levels
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from weft import LLM, SamplingParams
from weft.engine.runner import Runner

LEVELS = [level for level in native_levels() if level != "amx_emulated"]           # those that an engine may use
pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")

SIZES = {"vocab_size": 260, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16, "initializer_range": 0.3}
MODELS = {
    "mamba": ("mamba", {}),
    "falcon-mamba": ("falcon_mamba", {}),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 16, "n_groups": 2}),
}
HYBRID = '''
from weft.architectures.names import names
from weft.architectures.parts import attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, Mamba2Spec

PARTS = ("mixer_norm", "ffn_norm", "mixer.q", "mixer.k", "mixer.v", "mixer.o", "ffn.gate", "ffn.up", "ffn.down",
         "mixer.in", "mixer.conv", "mixer.dt", "mixer.a_log", "mixer.d", "mixer.norm")
NAMES = names({f"blocks.{{i}}.{part}": f"blocks.{{i}}.{part}" for part in PARTS}
              | {"tokens": "embedding.tokens", "last": "final_norm", "head": "head"})


@architecture("HybridForCausalLM")
def hybrid(c):
    """Blocks of Mamba 2, then windowed, then full attention."""
    norm = rms_norm(c)
    mixer = Mamba2Spec(num_heads=4, head_dim=16, num_groups=2, state_size=8, conv_size=4, norm_eps=1e-5)
    state = BlockSpec(mixer=mixer, ffn=None, mixer_norm=norm, ffn_norm=None)
    near, far = (BlockSpec(mixer=attention(c, positions=rope(c), window=window), ffn=gated_mlp(c), mixer_norm=norm,
                           ffn_norm=norm) for window in (21, None))
    return decoder(c, blocks=[state, near, state, far], final_norm=norm, names=NAMES)
'''
HYBRID_CONFIG = {
    "architectures": ["HybridForCausalLM"], "model_type": "hybrid", "vocab_size": 260, "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
WAYS = {"int8": {"quantization": "int8"}, "int4": {"quantization": "int4"}, "w8a8": {"quantization": "w8a8"}}
CASES = [(model, isa, way) for model in (*MODELS, "hybrid") for isa in LEVELS for way in ("dense", *WAYS)
         if (way == "dense" and (isa == LEVELS[-1] or model in ("mamba", "mamba2")))
         or (isa == LEVELS[-1] and model in ("mamba", "hybrid"))]
EVERY = range(24)      # numbers of the prompts


def engine(directory, **options):
    """An engine with blocks of one token, whose states are kept every 16; the hybrid's keys want blocks of 16, states
    are then kept every 256.
    """
    file = directory / "hybrid.py"
    return LLM(model=str(directory), skip_tokenizer_init=True, **({
        "dtype": "bfloat16", "logprobs_mode": "raw_logits", "max_logprobs": -1, "max_model_len": 256, "block_size": 1,
        "use_tqdm_on_load": False, "enable_prefix_caching": False} | (
            {"model_file": str(file), "block_size": 16} if file.exists() else {}) | options))


def write_hybrid(directory):
    """Random weights, of the shapes that the description asks for."""
    (directory / "hybrid.py").write_text(HYBRID)
    (directory / "config.json").write_text(json.dumps(HYBRID_CONFIG))
    hidden, inner, conv = 64, 64, 64 + 2 * 2 * 8
    shapes = {"tokens": (260, hidden), "head": (260, hidden), "last": (hidden,)}
    for i in range(4):
        parts = {"mixer_norm": (hidden,)}
        if i % 2 == 0:
            parts |= {"mixer.in": (inner + conv + 4, hidden), "mixer.conv": (conv, 4), "mixer.o": (hidden, inner),
                      "mixer.norm": (inner,)}
        else:
            parts |= {"ffn_norm": (hidden,), "mixer.q": (64, hidden), "mixer.k": (32, hidden), "mixer.v": (32, hidden),
                      "mixer.o": (hidden, 64), "ffn.gate": (96, hidden), "ffn.up": (96, hidden),
                      "ffn.down": (hidden, 96)}
        shapes |= {f"blocks.{i}.{part}": shape for part, shape in parts.items()}
    random = torch.Generator().manual_seed(0)
    tensors = {f"{name}.weight": torch.randn(shape, generator=random) / shape[-1] ** (0.5 * (len(shape) > 1))
               for name, shape in shapes.items()}
    for i in (0, 2):
        tensors |= {f"blocks.{i}.mixer.{name}": torch.rand(shape, generator=random)
                    for name, shape in (("conv.bias", conv), ("dt.bias", 4), ("a_log", 4), ("d", 4))}
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, directory / "model.safetensors")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """{model: directory}."""
    directories = {"hybrid": tmp_path_factory.mktemp("hybrid")}
    write_hybrid(directories["hybrid"])
    for model, (model_type, changes) in MODELS.items():
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **SIZES | changes)
        directories[model] = tmp_path_factory.mktemp(model)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(directories[model])
    return directories


@pytest.mark.parametrize("model, isa, way", CASES)
def test_logits_are_bitwise_the_same_whatever_happens_around_a_request(checkpoints, model, isa, way, monkeypatch):
    directory = checkpoints[model]
    options = {"cpu_isa": isa, "num_threads": 1} | WAYS.get(way, {})
    alone = {}
    with engine(directory, enforce_eager=True, **options) as llm:
        for i in EVERY:
            alone |= logits(llm, [i])[0]
    num_answers = len({str(found) for found in alone.values()})
    assert num_answers > len(EVERY) - 4, "the requests differ, so that a mix-up would show"

    order = random.Random(1).sample(EVERY, len(EVERY))
    with engine(directory, **options | {"num_threads": 2}) as llm:
        assert logits(llm, order)[0] == alone, "in a shuffled batch on two threads, recorded"
    with engine(directory, max_num_batched_tokens=33, max_num_seqs=32, **options) as llm:
        assert logits(llm, EVERY)[0] == alone, "in chunks of at most 33 tokens"
    with engine(directory, **options | {"enable_prefix_caching": True}) as llm:
        logits(llm, EVERY)
        found, outputs = logits(llm, order)
        assert found == alone, "from snapshots"
        assert model == "hybrid" or sum(output.num_cached_tokens for output in outputs) > 500      # see the test below
    drafts = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 1, "prompt_lookup_min": 1}
    with engine(directory, speculative_config=drafts, **options) as llm:
        assert logits(llm, EVERY)[0] == alone, "with drafts, most of them wrong"
    monkeypatch.setattr(Runner, "execute", failing(Runner.execute))
    with engine(directory, **options) as llm:
        assert logits(llm, EVERY)[0] == alone, "after steps that failed when their work was done"


def failing(execute):
    """Runner.execute, of which each third step of several sequences fails at its end."""
    turns = cycle((False, False, True))

    def run(self, step_plan):
        results = execute(self, step_plan)
        if len(step_plan.scheduled) > 1 and next(turns):
            raise RuntimeError("planted, after all states were written")
        return results

    return run


def test_a_hybrid_goes_on_from_keys_and_states_that_end_at_one_border(checkpoints):
    rng = random.Random(8)
    prompt = [rng.randrange(250) for _ in range(600)]
    params = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True, logprobs=-1)
    found = []
    with engine(checkpoints["hybrid"], cpu_isa=LEVELS[-1], enable_prefix_caching=True, max_model_len=1024) as llm:
        for length in (600, 600, 530, 511):
            output = llm.generate([{"prompt_token_ids": prompt[:length]}], params, use_tqdm=False)[0]
            found.append((output.num_cached_tokens, output.outputs[0].logprobs))

    assert [num_cached for num_cached, _ in found] == [0, 512, 512, 256]
    assert [entry.logprob for entry in found[0][1][0].values()] == [entry.logprob for entry in found[1][1][0].values()]


def test_a_hybrid_that_is_preempted_gives_the_same_bits(checkpoints):
    directory, options = checkpoints["hybrid"], {"cpu_isa": LEVELS[-1], "num_threads": 1}
    with engine(directory, **options) as llm:
        wanted, _ = logits(llm, EVERY)
        plan = llm.collective_rpc("memory_plan")[0]
    assert plan["num_blocks"]
    with engine(directory, kv_cache_memory_bytes=plan["kv_cache_bytes"] // 40, **options) as llm:
        found, outputs = logits(llm, EVERY)

    assert sum(output.metrics.num_preemptions for output in outputs) > 0
    assert found == wanted
