"""Models with states over HTTP: Transformers' greedy text, together and again from the cache; and in `weft inspect`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from http_server import running_server
from tiny_llama import VOCABULARY, make_checkpoint
from transformers import AutoTokenizer, Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from weft.async_llm import AsyncLLM
from weft.cli.main import main
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3,
         "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 258, "pad_token_id": None}
MODELS = {
    "mamba": (MambaForCausalLM, MambaConfig(**SIZES)),
    "mamba2": (Mamba2ForCausalLM, Mamba2Config(**SIZES, num_heads=4, head_dim=16, n_groups=2, state_size=16)),
}
PROMPTS = ["Once upon a time", "1, 2, 3", "the state of a space", "x" * 40]
NUM_TOKENS = 20


@pytest.fixture(scope="module", params=MODELS)
def checkpoint(request, tmp_path_factory):
    """(directory, Transformers' greedy texts of the prompts)."""
    directory = make_checkpoint(tmp_path_factory.mktemp(request.param))               # for its tokenizer
    kind, config = MODELS[request.param]
    torch.manual_seed(0)
    model = kind(config).float().eval()
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return directory, [
        tokenizer.decode(greedy(model, tokenizer.encode(prompt)), skip_special_tokens=True) for prompt in PROMPTS]


@torch.inference_mode()
def greedy(model, ids):
    ids = list(ids)
    for _ in range(NUM_TOKENS):
        ids.append(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax().item())
    return ids[-NUM_TOKENS:]


def test_completions_are_transformers_greedy_texts(checkpoint):
    directory, wanted = checkpoint
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(directory), kv_cache_memory_bytes=2**22, num_threads=1, block_size=1, max_model_len=128,
        served_model_name=("tiny",)))
    body = {"model": "tiny", "max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True}
    try:
        with running_server(engine, ServerOptions()) as url, httpx.Client(base_url=url, timeout=60) as client:
            def complete(prompt):
                return client.post("/v1/completions", json=body | {"prompt": prompt}).json()

            with ThreadPoolExecutor(4) as pool:
                together = list(pool.map(complete, PROMPTS))
            again = complete(PROMPTS[-1])
    finally:
        engine.shutdown()

    assert [answer["choices"][0]["text"] for answer in together] == wanted
    assert again["choices"][0]["text"] == wanted[-1]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 32             # of 40, a state every 16


def test_inspect_says_what_a_state_takes_and_serve_refuses_a_cache_dtype(checkpoint, capsys):
    directory, _ = checkpoint

    assert main(["inspect", str(directory), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    code = main(["inspect", str(directory), "--kv-cache-dtype", "int8"])

    group, = found["sizes"]["cache_groups"]
    assert group["bytes_per_token"] is None
    assert group["bytes_per_state"] == sum(2 * row["state_bytes"] for row in found["layers"])
    assert found["layers"][0]["attention"].startswith("state space of ")
    assert code != 0
    assert "kv_cache_dtype = 'int8_per_token_head': expected auto" in capsys.readouterr().err
