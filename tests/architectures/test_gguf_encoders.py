"""Encoders out of GGUF files give the states and vectors that they give from safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import torch.nn.functional as F
from encoder_kinds import BERT, write_model
from gguf_models import add
from jina_bert import JinaBert
from safetensors.torch import load_file
from tiny_encoders import prompts, token_states
from tiny_poolers import logits_of
from torch import Tensor

from weft import LLM, PoolingParams
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families
from weft.errors import ConfigError
from weft.resolve.gguf.config import read_gguf_config
from weft.resolve.gguf.families import GGUF_FAMILIES

PROMPTS = prompts(1, 17, 40, 100)
SIZES = {"context_length": 130, "embedding_length": 64, "block_count": 3, "attention.head_count": 4,
         "feed_forward_length": 96, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False,
         "pooling_type": 1}
LOCAL = {"local_attention": 16, "pad_token_id": 0, "num_hidden_layers": 4}
GEMMA = BERT | {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 12, "pad_token_id": 0,
                "use_bidirectional_attention": True, "query_pre_attn_scalar": 16, "num_hidden_layers": 7}
# general.architecture: (Transformers' class, its config, metadata besides SIZES; None: the file lacks the key)
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bert": ("BertModel", BERT, {}),
    "nomic-bert": ("NomicBertModel", BERT, {"rope.freq_base": 1000.0, "rope.dimension_count": 16}),
    "modern-bert": ("ModernBertModel", BERT | LOCAL, {
        "block_count": 4, "attention.layer_norm_epsilon": 1e-5, "attention.sliding_window": 16,
        "attention.sliding_window_pattern": 3, "rope.freq_base": 160000.0, "rope.freq_base_swa": 10000.0}),
    "gemma-embedding": ("Gemma3TextModel", GEMMA, {
        "block_count": 7, "attention.head_count_kv": 2, "attention.key_length": 16, "attention.value_length": 16,
        "attention.layer_norm_epsilon": None, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 1e6,
        "attention.sliding_window": 12}),
}


def write_gguf(path: Path, name: str, tensors: dict[str, Tensor], metadata: dict[str, Any],
               heads: dict[str, Tensor] | None = None) -> Path:
    """A file as llama.cpp's converter writes it. tensors: under the names of the checkpoint. heads: under GGUF's."""
    architecture = next(kind for kind, text in gguf.MODEL_ARCH_NAMES.items() if text == name)
    names = gguf.get_tensor_name_map(architecture, metadata["block_count"])
    writer = gguf.GGUFWriter(path, name)
    for key, value in metadata.items():
        if value is not None:
            add(writer, f"{name}.{key}", value)
    for full, tensor in tensors.items():
        if "pooler." in full or full.startswith("classifier"):
            continue
        full = full.removeprefix("bert.").removeprefix("roberta.")
        target = names.get_name(f"model.{full}" if name == "gemma-embedding" else full,
                                try_suffixes=(".weight", ".bias"))
        assert target is not None, full
        is_norm = name == "gemma-embedding" and full.endswith("norm.weight")
        writer.add_tensor(target, (tensor + is_norm).contiguous().numpy())
    for target, tensor in (heads or {}).items():
        writer.add_tensor(target, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def check(path: Path, wanted: list[Tensor]) -> None:
    """States, and vectors by the file's pooling (mean)."""
    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False,
             max_model_len=100, kv_cache_memory_bytes=1 << 24) as llm:
        states = llm.encode(PROMPTS, PoolingParams(task="token_embed"), use_tqdm=False)
        vectors = llm.embed(PROMPTS, use_tqdm=False)
    for expected, rows, vector in zip(wanted, states, vectors, strict=True):
        assert torch.allclose(rows.outputs.data, expected, atol=1e-4 * float(expected.abs().max()))
        assert torch.allclose(torch.tensor(vector.outputs.embedding), F.normalize(expected.mean(0), dim=0), atol=1e-4)


@pytest.mark.proves("gguf", "name", {name: kind[0] for name, kind in KINDS.items()})
@pytest.mark.parametrize("name", KINDS)
def test_states_are_those_of_transformers(name, tmp_path):
    cls, values, metadata = KINDS[name]
    model = write_model(tmp_path / "hf", cls, values)
    path = write_gguf(tmp_path / "model.gguf", name, load_file(tmp_path / "hf" / "model.safetensors"), SIZES | metadata)

    check(path, [token_states(model, ids) for ids in PROMPTS])
    config = read_gguf_config(path, {})
    reader = ConfigReader(config.values, source=config.source, origins=config.origins)
    families()[config.architecture].describe(reader)
    assert reader.unread().keys() <= {"pooler_config"}                     # which models/pooling.py reads


def test_roberta_is_written_as_bert_without_the_rows_before_the_first_position(tmp_path):
    model = write_model(tmp_path / "hf", "XLMRobertaModel", BERT | {"pad_token_id": 1})
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    tensors["embeddings.position_embeddings.weight"] = tensors["embeddings.position_embeddings.weight"][2:]

    check(write_gguf(tmp_path / "model.gguf", "bert", tensors, SIZES | {"context_length": 128}),
          [token_states(model, ids) for ids in PROMPTS])


@pytest.mark.proves("gguf", None, "JinaBertModel")
def test_jina_bert_has_its_gate_apart(tmp_path):
    model = JinaBert()
    tensors = {}
    for name, tensor in model.weights.items():
        if "gated_layers" in name:
            gate, up = tensor.chunk(2)
            tensors |= {name.replace("layers", "layers_w"): gate, name.replace("layers", "layers_v"): up}
        else:
            tensors[name] = tensor

    check(write_gguf(tmp_path / "model.gguf", "jina-bert-v2", tensors, SIZES | {"block_count": 2}),
          [model.states(ids) for ids in PROMPTS])


def test_each_family_of_encoders_that_is_read_is_tested():
    assert {name for name, family in GGUF_FAMILIES.items() if family.is_encoder} == {*KINDS, "jina-bert-v2"}


@pytest.mark.parametrize(("name", "dense", "out", "labels"), [
    ("Bert", "bert.pooler.dense", "classifier", 1), ("XLMRoberta", "classifier.dense", "classifier.out_proj", 3)])
def test_classifiers_and_rerankers_give_the_logits_of_transformers(tmp_path, name, dense, out, labels):
    values = BERT | {"num_labels": labels, "pad_token_id": 1 if name == "XLMRoberta" else 0}
    model = write_model(tmp_path / "hf", f"{name}ForSequenceClassification", values)
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    heads = {f"{to}.{kind}": tensors[f"{stem}.{kind}"] for to, stem in (("cls", dense), ("cls.output", out))
             for kind in ("weight", "bias")}
    if name == "XLMRoberta":
        key = "roberta.embeddings.position_embeddings.weight"
        tensors[key] = tensors[key][2:]
    path = write_gguf(tmp_path / "model.gguf", "bert", tensors, SIZES | {
        "pooling_type": 4, "context_length": 128 if name == "XLMRoberta" else 130}, heads)

    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False) as llm:
        found = llm.classify(PROMPTS, pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    for ids, output in zip(PROMPTS, found, strict=True):
        assert torch.allclose(torch.tensor(output.outputs.probs), logits_of(model, ids), atol=1e-4)


@pytest.mark.parametrize("stem", ["cls", "cls.output"])
def test_a_classifier_of_one_layer_has_either_name(tmp_path, stem):
    model = write_model(tmp_path / "hf", "BertModel", BERT)
    row = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    heads = {f"{stem}.weight": row, f"{stem}.bias": torch.ones(1)}
    path = write_gguf(tmp_path / "model.gguf", "bert", load_file(tmp_path / "hf" / "model.safetensors"),
                      SIZES | {"pooling_type": 4}, heads)

    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False) as llm:
        (output,) = llm.classify(PROMPTS[1:2], use_tqdm=False)
    expected = (token_states(model, PROMPTS[1])[0] @ row[0] + 1).sigmoid()
    assert output.outputs.probs == pytest.approx([float(expected)], abs=1e-5)


def test_a_reranker_made_of_a_decoder_has_two_labels(tmp_path):
    sizes = {"num_key_value_heads": 2, "head_dim": 16, "pad_token_id": 0}
    model = write_model(tmp_path / "hf", "Qwen3Model", BERT | sizes)
    rows = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    metadata = {"context_length": 130, "embedding_length": 64, "block_count": 3, "attention.head_count": 4,
                "attention.head_count_kv": 2, "attention.key_length": 16, "attention.value_length": 16,
                "feed_forward_length": 96, "attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000.0,
                "pooling_type": 4, "classifier.output_labels": ["yes", "no"]}
    tensors = {f"model.{name}": tensor for name, tensor in load_file(tmp_path / "hf" / "model.safetensors").items()}
    path = write_gguf(tmp_path / "model.gguf", "qwen3", tensors, metadata, {"cls.output.weight": rows})

    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False) as llm:
        (output,) = llm.classify(PROMPTS[1:2], use_tqdm=False)
        assert llm.config.model.hf_config["id2label"] == {0: "yes", 1: "no"}
    expected = (token_states(model, PROMPTS[1])[-1] @ rows.t()).softmax(-1)
    assert output.outputs.probs == pytest.approx(expected.tolist(), abs=1e-5)


def test_dense_layers_come_behind_the_pooling(tmp_path):
    cls, values, metadata = KINDS["gemma-embedding"]
    model = write_model(tmp_path / "hf", cls, values)
    first, second = (torch.randn(size, generator=torch.Generator().manual_seed(1)) for size in ((96, 64), (48, 96)))
    path = write_gguf(tmp_path / "model.gguf", "gemma-embedding", load_file(tmp_path / "hf" / "model.safetensors"),
                      SIZES | metadata | {"dense_2_feat_out": 96, "dense_3_feat_out": 48},
                      {"dense_2.weight": first, "dense_3.weight": second})

    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False) as llm:
        (output,) = llm.embed(PROMPTS[1:2], use_tqdm=False)
    expected = F.normalize(token_states(model, PROMPTS[1]).mean(0) @ first.t() @ second.t(), dim=0)
    assert torch.allclose(torch.tensor(output.outputs.embedding), expected, atol=1e-4)


@pytest.mark.parametrize(("kind", "said"), [(4, "4"), ([1, 2], r"\[1, 2\]")])
def test_a_classifier_without_a_layer_and_what_is_no_pooling_are_refused(tmp_path, kind, said):
    write_model(tmp_path / "hf", "BertModel", BERT)
    path = write_gguf(tmp_path / "model.gguf", "bert", load_file(tmp_path / "hf" / "model.safetensors"),
                      SIZES | {"pooling_type": kind})

    with pytest.raises(ConfigError, match=rf"bert\.pooling_type = {said}"):
        LLM(model=str(path), skip_tokenizer_init=True)
