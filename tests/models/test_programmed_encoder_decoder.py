"""A programmed model with an encoder beside its decoder gives the tokens of Transformers' `generate`."""

import json
from pathlib import Path

import pytest
from programmed_bart import MyBart
from tiny_encoder_decoders import generated, write_pair

from weft import LLM, SamplingParams
from weft.errors import ConfigError, NotBuiltError

MODEL = f"{Path(__file__).parents[2] / 'examples' / 'programmed_bart.py'}:MyBart"
PROMPTS = [[5 + i, 77, 19 + 2 * i, 105, 130 + i] * (1 + 2 * i) for i in range(4)]
COUNT = 12


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    """(directory, model of Transformers)."""
    directory = tmp_path_factory.mktemp("bart")
    return directory, write_pair(directory, "bart")


def engine(directory, **options):
    return LLM(model=str(directory), **{"model_class": MODEL, "dtype": "float32", "max_model_len": 96,
                                        "use_tqdm_on_load": False, "num_threads": 1, "skip_tokenizer_init": True,
                                        "block_size": 16} | options)


def run(llm, prompts, count=COUNT, **params):
    params = SamplingParams(**{"temperature": 0, "max_tokens": count, "ignore_eos": True, "min_tokens": count} | params)
    return llm.generate([prompt if isinstance(prompt, dict) else {"prompt_token_ids": prompt} for prompt in prompts],
                        params, use_tqdm=False)


def tokens(outputs):
    return [list(output.outputs[0].token_ids) for output in outputs]


@pytest.mark.parametrize("isa", ["auto", "reference"])
def test_tokens_are_those_of_generate_alone_and_in_company(bart, isa):
    directory, model = bart
    wanted = [generated(model, prompt, COUNT, eos_token_id=None) for prompt in PROMPTS]

    with engine(directory, cpu_isa=isa) as llm:
        assert tokens(run(llm, PROMPTS)) == wanted
        assert tokens(run(llm, PROMPTS[2:3])) == wanted[2:3]
        assert tokens(run(llm, PROMPTS)) == wanted


def test_the_decoders_prompt_goes_on_and_is_computed_in_chunks(bart):
    directory, model = bart
    decoder = [40 + i for i in range(21)]
    wanted = generated(model, PROMPTS[1], COUNT, [3, *decoder], eos_token_id=None)

    with engine(directory, max_num_batched_tokens=8, max_num_seqs=8) as llm:
        outputs = run(llm, [{"encoder_prompt": PROMPTS[1], "decoder_prompt": decoder}, PROMPTS[0]])

    assert tokens(outputs) == [wanted, generated(model, PROMPTS[0], COUNT, eos_token_id=None)]


def test_after_a_preemption_the_encoder_runs_again_and_else_once(bart):
    directory, model = bart
    wanted = [generated(model, prompt, 40, eos_token_id=None) for prompt in PROMPTS]
    with engine(directory) as llm:
        (plan,) = llm.collective_rpc("memory_plan")
    per_block = plan["kv_cache_bytes"] // sum(plan["num_blocks"])

    with engine(directory, kv_cache_memory_bytes=per_block * (8 + 8), enable_prefix_caching=False) as llm:
        lens = []
        llm.apply_model(lambda module: module.encoder.register_forward_hook(
            lambda _, args, out: lens.append(len(args[0]))))
        outputs = run(llm, PROMPTS, 40)

    num_preemptions = sum(output.metrics.num_preemptions for output in outputs)
    assert tokens(outputs) == wanted
    assert num_preemptions > 0
    assert sum(lens) == sum(map(len, PROMPTS)) + sum(
        len(prompt) * output.metrics.num_preemptions for prompt, output in zip(PROMPTS, outputs, strict=True))


def test_answers_of_one_prompt_have_each_their_own_encoder(bart):
    directory, _ = bart

    with engine(directory) as llm:
        (drawn,) = run(llm, PROMPTS[3:], n=3, temperature=1.0, seed=5)
        alone = [run(llm, PROMPTS[3:], temperature=1.0, seed=5 + i)[0].outputs[0].token_ids for i in range(3)]

    assert [answer.token_ids for answer in drawn.outputs] == alone


def test_the_plan_has_room_for_the_longest_input_of_the_encoder(bart):
    directory, _ = bart
    longest = json.loads((directory / "config.json").read_text())["max_position_embeddings"]

    with engine(directory, kv_cache_memory_bytes=1 << 20) as llm:
        (output,) = run(llm, [[7] * longest], 4)
        (plan,) = llm.collective_rpc("memory_plan")

    assert len(output.outputs[0].token_ids) == 4
    assert max(plan["num_blocks"]) * plan["block_size"] >= longest


class OlderBart(MyBart):
    """The order of arguments that models of vLLM before 0.8 have."""

    def forward(self, input_ids, positions, encoder_input_ids, encoder_positions, kv_caches, attn_metadata,
                intermediate_tensors=None):
        return super().forward(input_ids, positions, encoder_input_ids=encoder_input_ids,
                               encoder_positions=encoder_positions)


def test_an_encoder_decoder_of_vllms_first_generation_runs(bart):
    directory, model = bart

    with engine(directory, model_class=OlderBart) as llm:
        assert tokens(run(llm, PROMPTS)) == [generated(model, prompt, COUNT, eos_token_id=None) for prompt in PROMPTS]


class WithoutEncoder(MyBart):
    """Its forward says nothing of an encoder."""

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.decoder(input_ids, positions, None)


def test_cross_attention_without_an_encoders_tokens_is_refused_at_the_start(bart):
    with pytest.raises(NotBuiltError, match="a model whose forward takes encoder_input_ids and encoder_positions"):
        engine(bart[0], model_class=WithoutEncoder)


class Forgetful(MyBart):
    """It never gives the decoder the encoder's states."""

    def forward(self, input_ids, positions, *, encoder_input_ids, encoder_positions, intermediate_tensors=None,
                inputs_embeds=None):
        return self.decoder(input_ids, positions, None)


def test_keys_of_the_encoder_that_a_model_does_not_give_are_named(bart):
    with pytest.raises(ConfigError, match="Attention: key is NoneType"):
        engine(bart[0], model_class=Forgetful)


def test_encoders_that_start_in_one_step_have_no_more_tokens_than_a_step(bart):
    directory, model = bart
    prompts = [PROMPTS[3], PROMPTS[2], [*PROMPTS[3][1:], 9], [9] * 100]

    with engine(directory, max_num_batched_tokens=64, max_num_seqs=8) as llm:
        lens = []
        llm.apply_model(lambda module: module.encoder.register_forward_hook(
            lambda _, args, out: lens.append(len(args[0]))))
        outputs = run(llm, prompts)

    assert lens == [60, 35, 100], "an input that is longer than a step comes alone"
    assert tokens(outputs) == [generated(model, prompt, COUNT, eos_token_id=None) for prompt in prompts]
