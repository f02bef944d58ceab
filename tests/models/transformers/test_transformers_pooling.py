"""Classifiers and masked language models of Transformers pool what Transformers gives, wired or not."""

import pytest
import torch
from encoder_kinds import BERT, write_model
from tiny_poolers import logits_of

from weft import LLM, PoolingParams
from weft.errors import ConfigError, NotBuiltError

DECODER = BERT | {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BART = {"vocab_size": 320, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "max_position_embeddings": 130,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
# class of Transformers: (values of its config, the level that weft runs it at)
CLASSIFIERS = {
    "BertForSequenceClassification": (BERT, "wired"),
    "RobertaForSequenceClassification": (BERT | {"pad_token_id": 1}, "wired"),
    "DistilBertForTokenClassification": ({"vocab_size": 320, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96},
                                         "wired"),
    "LlamaForSequenceClassification": (DECODER, "wired and fused"),
    "Qwen3ForTokenClassification": (DECODER | {"head_dim": 16}, "wired and fused"),
    "AlbertForSequenceClassification": (BERT | {"embedding_size": 32}, "own cache"),
    "FunnelForTokenClassification": ({"vocab_size": 320, "d_model": 64, "n_head": 4, "d_head": 16, "d_inner": 96,
                                      "block_sizes": [1, 1]}, "own cache"),
    "BartForSequenceClassification": (BART, "own cache"),
}
PROMPTS = [[5 + i, 77, 19 + 2 * i, 105, 60] * (1 + 3 * i) for i in range(4)]


def engine(path, **options) -> LLM:
    return LLM(model=str(path), dtype="float32", max_model_len=96, skip_tokenizer_init=True, num_threads=1,
               use_tqdm_on_load=False, model_impl="transformers", **options)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_in_company_and_alone(name, tmp_path):
    values, level = CLASSIFIERS[name]
    model = write_model(tmp_path, name, values | {"num_labels": 3})
    prompts = [[*ids, 2] for ids in PROMPTS] if name.startswith("Bart") else PROMPTS
    task = "token_classify" if "Token" in name else "classify"
    params = PoolingParams(task=task, use_activation=False)
    with engine(tmp_path) as llm:
        assert llm.apply_model(lambda module: (type(module).__name__, module.level)) == [
            ("TransformersForSequenceClassification", level)]
        outputs = llm.encode(prompts, params, use_tqdm=False)
        for prompt in prompts:
            outputs += llm.encode([prompt], params, use_tqdm=False)
        (probabilities,) = llm.encode(prompts[:1], PoolingParams(task=task), use_tqdm=False)

    wanted = [logits_of(model, ids) for ids in prompts]
    for output, logits in zip(outputs, wanted * 2, strict=True):
        assert torch.allclose(output.outputs.data, logits, atol=1e-4 * float(logits.abs().max()))
    assert torch.allclose(probabilities.outputs.data, wanted[0].softmax(-1), atol=1e-4)


@pytest.mark.parametrize(("name", "values", "level"), [
    ("BertForMaskedLM", BERT, "wired"), ("AlbertForMaskedLM", BERT | {"embedding_size": 32}, "own cache"),
    ("BartModel", BART, "own cache"), ("FunnelModel", CLASSIFIERS["FunnelForTokenClassification"][0], "own cache"),
])
def test_states_are_the_bodys_without_its_head(name, values, level, tmp_path):
    model = write_model(tmp_path, name, values)
    with engine(tmp_path) as llm:
        assert llm.apply_model(lambda module: (type(module).__name__, module.level)) == [
            ("TransformersEmbeddingModel", level)]
        outputs = llm.encode(PROMPTS, PoolingParams(task="token_embed"), use_tqdm=False)

    for ids, output in zip(PROMPTS, outputs, strict=True):
        with torch.inference_mode():
            states = model.base_model(torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(output.outputs.data, states, atol=1e-4 * float(states.abs().max()))


def test_a_model_that_generates_embeds_when_asked_to(tmp_path):
    model = write_model(tmp_path, "LlamaForCausalLM", DECODER)
    with engine(tmp_path, runner="pooling") as llm:
        outputs = llm.embed(PROMPTS, use_tqdm=False)

    for ids, output in zip(PROMPTS, outputs, strict=True):
        with torch.inference_mode():
            last = model.model(torch.tensor([ids])).last_hidden_state[0, -1]
        assert torch.allclose(torch.tensor(output.outputs.embedding), last / last.norm(), atol=1e-4)


def test_a_prompt_that_a_class_refuses_fails_alone(tmp_path):
    write_model(tmp_path, "BartForSequenceClassification", BART)
    with engine(tmp_path) as llm:
        good, bad = llm.encode([[5, 6, 2], [5, 6, 7]], PoolingParams(task="classify"), use_tqdm=False)

    assert good.error is None and bad.outputs is None and bad.error


def test_what_a_class_has_no_head_for_is_refused(tmp_path):
    write_model(tmp_path, "BertModel", BERT)
    with pytest.raises(NotBuiltError, match=r"convert = 'classify'.*BertModel of Transformers has no classifier"):
        engine(tmp_path, convert="classify")
    with pytest.raises(ConfigError, match="runner = 'generate'"):
        engine(tmp_path, runner="generate")
    write_model(tmp_path, "BertForMultipleChoice", BERT)
    with pytest.raises(NotBuiltError, match="BertForMultipleChoice"):
        engine(tmp_path)
