"""`weft serve --model-file` runs a file written for vLLM, in the server's own processes."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams

FILE = Path(__file__).parent / "vllm_files" / "g2_llama.py"
PROMPT = [3, 7, 13, 5, 32] * 3


def test_the_server_gives_the_tokens_of_the_description(tmp_path):
    directory = make_checkpoint(tmp_path / "model")
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    with LLM(model=str(directory), dtype="float32", max_model_len=128, use_tqdm_on_load=False, num_threads=1) as llm:
        (wanted,) = llm.generate({"prompt_token_ids": PROMPT}, params, use_tqdm=False)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    file, layers = tmp_path / "mine.py", tmp_path / "layers"
    file.write_text(FILE.read_text() + f"\nopen({str(layers)!r}, 'w').write(RMSNorm.__module__)\n")
    server = subprocess.Popen([sys.executable, "-m", "weft.cli.main", "serve", str(directory), "--port", url[17:],
                               "--model-file", str(file), "--dtype", "float32", "--max-model-len", "128"])
    try:
        wait_until_healthy(url, server)
        answer = httpx.post(f"{url}/v1/completions", timeout=60, json={
            "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "ignore_eos": True, "return_token_ids": True})
    finally:
        server.terminate()
        server.wait(timeout=60)

    assert answer.json()["choices"][0]["token_ids"] == list(wanted.outputs[0].token_ids)
    assert layers.read_text() == "weft.models.vllm.layers"


def wait_until_healthy(url, server):
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise TimeoutError(url)
