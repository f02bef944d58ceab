"""Which names of a repository are taken."""

from __future__ import annotations

import pytest

from weft.resolve.sources.wanted import (
    ADAPTER,
    MODEL,
    TOKENIZER,
    Wanted,
    assumed,
    index_file,
    small_files,
    weight_files,
)


@pytest.mark.parametrize(("names", "taken"), [
    (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
    (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"]),
    (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "consolidated.safetensors"],
     ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
    (["pytorch_model.bin", "training_args.bin", "optimizer.bin"], ["pytorch_model.bin"]),
    (["pytorch_model.bin", "onnx/model.safetensors", "original/model.safetensors"], ["pytorch_model.bin"]),
    (["unusual_name.safetensors", "pytorch_model.bin"], ["unusual_name.safetensors"]),
    (["consolidated-00001-of-00001.safetensors", "params.json"], ["consolidated-00001-of-00001.safetensors"]),
    (["model.safetensors", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"],
     ["model.safetensors", "2_Dense/model.safetensors"]),
    (["only.gguf", "config.json", "mmproj-only.gguf"], ["only.gguf"]),
    (["model.safetensors", "model.gguf"], ["model.safetensors"]),
    (["config.json"], []),
])
def test_one_set_of_weights_is_taken_the_best_there_is(names, taken):
    assert weight_files(names, MODEL) == taken


@pytest.mark.parametrize(("weights", "taken"), [
    ("safetensors", ["model.safetensors"]), ("pt", ["pytorch_model.bin"]), ("mistral", ["consolidated.safetensors"]),
    ("adapter", ["adapter_model.bin"]), ("gguf", ["q8_0.gguf"]), ("none", []),
])
def test_a_format_that_is_named_is_taken(weights, taken):
    names = ["model.safetensors", "pytorch_model.bin", "consolidated.safetensors", "adapter_model.bin", "q8_0.gguf"]

    assert weight_files(names, Wanted(weights=weights)) == taken


def test_the_index_of_the_format_that_is_taken_is_followed():
    names = {"model.safetensors.index.json", "pytorch_model.bin.index.json", "model-1.safetensors"}

    assert index_file(names, MODEL) == "model.safetensors.index.json"
    assert index_file(names, Wanted(weights="pt")) == "pytorch_model.bin.index.json"
    assert index_file(names, TOKENIZER) is None
    assert "pytorch_model.bin.index.json" not in small_files(names, MODEL)
    assert weight_files(names, MODEL, ["model-1.safetensors"]) == ["model-1.safetensors"]


def test_parts_of_a_gguf_stay_in_their_folder():
    names = ["Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "Q8_0/m.gguf"]

    assert weight_files(names, Wanted(weights="gguf", gguf="Q4_K_M")) == names[:2]


def test_tokenizers_of_all_kinds_are_small_files():
    names = {"tokenizer.model", "tekken.json", "vocab.txt", "merges.txt", "qwen.tiktoken", "bpe.codes",
             "tokenizer.model.v3", "chat_template.jinja", "preprocessor_config.json"}

    assert set(small_files(names, TOKENIZER)) == names


@pytest.mark.parametrize(("names", "want", "missing"), [
    ({"config.json"}, MODEL, {"config.json", "model.safetensors"}),
    ({"model.safetensors"}, MODEL, {"config.json"}),
    ({"m.gguf"}, MODEL, set()),
    (set(), Wanted(weights="pt"), {"config.json", "pytorch_model.bin"}),
    (set(), ADAPTER, {"adapter_config.json", "adapter_model.safetensors"}),
    (set(), TOKENIZER, set()),
])
def test_what_a_repository_must_have_is_known_without_its_listing(names, want, missing):
    assert assumed(names, want) == missing
