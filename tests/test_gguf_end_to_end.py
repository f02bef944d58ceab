"""A GGUF file alone is a model: text in, text out, through Python, the server and `weft inspect`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import gguf
import httpx
import pytest
from gguf_models import write_gguf
from http_server import running_server
from tiny_llama import TEMPLATE, make_checkpoint
from transformers import AutoModelForCausalLM

from weft import LLM, AsyncLLM, EngineArgs, SamplingParams
from weft.errors import CheckpointError, ConfigError, NotBuiltError
from weft.server.options import ServerOptions

GREEDY = SamplingParams(temperature=0, max_tokens=12)
OPTIONS = {"num_threads": 1, "use_tqdm_on_load": False, "kv_cache_memory_bytes": 1 << 22}


@pytest.fixture(scope="module")
def hf(tmp_path_factory) -> Path:
    """A tiny Llama with safetensors and a byte tokenizer, in which "on" took the place of a byte."""
    directory = make_checkpoint(tmp_path_factory.mktemp("hf"))
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["on"] = tokenizer["model"]["vocab"].pop("ÿ")
    tokenizer["model"]["merges"] = [["o", "n"]]
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    return directory


@pytest.fixture(scope="module")
def model_file(hf, tmp_path_factory) -> Path:
    """The same as one GGUF file, alone in its folder."""
    tokenizer = json.loads((hf / "tokenizer.json").read_text())
    tokens = {**tokenizer["model"]["vocab"], **{added["content"]: added["id"] for added in tokenizer["added_tokens"]}}
    special = {added["content"] for added in tokenizer["added_tokens"]}
    texts = sorted(tokens, key=tokens.get)
    return write_gguf(AutoModelForCausalLM.from_pretrained(hf), tmp_path_factory.mktemp("gguf") / "tiny-F32.gguf",
                      metadata={
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [int(gguf.TokenType.CONTROL if text in special else gguf.TokenType.NORMAL)
                                      for text in texts],
        "tokenizer.ggml.merges": ["o n"], "tokenizer.ggml.eos_token_id": tokens["<|im_end|>"],
        "tokenizer.chat_template": TEMPLATE,
    })


def answers(model: Path) -> tuple[str, str]:
    """What it says to a text and to a message."""
    with LLM(model=str(model), **OPTIONS) as llm:
        text = llm.generate("Once upon", GREEDY, use_tqdm=False)[0].outputs[0].text
        said = llm.chat([{"role": "user", "content": "Hi"}], GREEDY, use_tqdm=False)[0].outputs[0].text
    return text, said


def test_one_file_says_what_the_folder_of_the_same_model_says(hf, model_file):
    assert answers(model_file) == answers(hf)


def test_a_folder_with_one_file_and_a_name_with_its_quant_mean_that_file(hf, model_file):
    expected = answers(hf)

    assert answers(model_file.parent) == expected
    assert answers(Path(f"{model_file.parent}:F32")) == expected


def test_a_config_and_a_tokenizer_beside_the_file_are_used(hf, model_file, tmp_path):
    shutil.copy(model_file, tmp_path / "m.gguf")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(hf / name, tmp_path / name)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 99}))

    with LLM(model=str(tmp_path / "m.gguf"), **OPTIONS) as llm:
        assert llm.config.model.max_model_len == 99
        assert llm.config.tokenizer.path == str(tmp_path)
    assert answers(tmp_path / "m.gguf") == answers(hf)


def test_the_server_answers_from_one_file(hf, model_file):
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(model_file), **OPTIONS))
    try:
        with running_server(engine, ServerOptions()) as url:
            reply = httpx.post(f"{url}/v1/chat/completions", timeout=60, json={
                "model": str(model_file), "messages": [{"role": "user", "content": "Hi"}], "temperature": 0,
                "max_tokens": 12}).json()
    finally:
        engine.shutdown()

    assert reply["choices"][0]["message"]["content"] == answers(hf)[1]


def weft(*arguments) -> str:
    return subprocess.run([sys.executable, "-m", "weft.cli.main", *map(str, arguments)], capture_output=True,
                          text=True, check=True).stdout


def test_inspect_explains_a_file_with_the_metadata_key_of_each_value(model_file):
    found = json.loads(weft("inspect", model_file, "--json"))

    assert found["settings"]["hidden_size"] == {"value": 32, "source": "llama.embedding_length"}
    assert found["settings"]["architecture"]["source"] == "general.architecture"
    assert found["settings"]["dtype"] == {"value": "float32", "source": "majority of the tensors"}
    assert found["sizes"]["checkpoint"] == "20 tensors (float32) in 1 file(s)"
    assert found["sizes"]["head"] == "shares the embedding's table"
    assert found["unread_keys"] == {}
    assert "tiny-F32.gguf" in weft("inspect", model_file)


def test_random_weights_in_place_of_a_files_own(model_file):
    with LLM(model=str(model_file), load_format="dummy", **OPTIONS) as llm:
        assert len(llm.generate("Hi", GREEDY, use_tqdm=False)[0].outputs[0].token_ids) > 0


def test_a_missing_tensor_is_an_error_with_its_gguf_name(hf, tmp_path):
    def without(tensors):
        return ((name, tensor) for name, tensor in tensors if name != "blk.1.ffn_up.weight")

    path = write_gguf(AutoModelForCausalLM.from_pretrained(hf), tmp_path / "m.gguf", rename=without)

    with pytest.raises(CheckpointError, match=r"blocks.1.ffn.up.weight .*expected blk.1.ffn_up.weight"):
        LLM(model=str(path), skip_tokenizer_init=True, **OPTIONS)


def test_a_file_without_a_tokenizer_asks_for_one_and_takes_it(hf, tmp_path):
    path = write_gguf(AutoModelForCausalLM.from_pretrained(hf), tmp_path / "m.gguf")

    with pytest.raises(ConfigError, match=r"tokenizer.ggml.model = None.*--tokenizer DIR"):
        LLM(model=str(path), **OPTIONS)
    with LLM(model=str(path), tokenizer=str(hf), **OPTIONS) as llm:
        assert llm.generate("Once upon", GREEDY, use_tqdm=False)[0].outputs[0].text == answers(hf)[0]


def test_a_config_beside_the_file_of_a_family_without_gguf_names_is_refused(hf, model_file, tmp_path):
    shutil.copy(model_file, tmp_path / "m.gguf")
    (tmp_path / "config.json").write_text(json.dumps({
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 32, "vocab_size": 259,
        "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}))

    with pytest.raises(NotBuiltError, match="weft does not know how GGUF files name this family's tensors"):
        LLM(model=str(tmp_path / "m.gguf"), **OPTIONS)
