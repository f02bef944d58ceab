"""Runner for llama.cpp: its server gets token ids over HTTP, one connection per sequence. Standard library only."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Sequence

from protocol import FirstTokens, Setup, Times, serve

START_SECONDS = 300
SPARE_TOKENS = 64      # cache cells beyond what the sequences need


class LlamaCpp:
    """A `llama-server` with one cache for all its slots."""

    def __init__(self, setup: Setup) -> None:
        version = subprocess.run([setup.program, "--version"], capture_output=True, text=True, check=True)
        self.version = "llama.cpp " + (version.stdout + version.stderr).partition("version: ")[2].partition(" ")[0]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        threads = str(setup.num_threads)
        self._server = subprocess.Popen([
            setup.program, "--model", setup.model, "--host", "127.0.0.1", "--port", str(self._port),
            "--threads", threads, "--threads-batch", threads, "--parallel", str(setup.max_batch), "--kv-unified",
            "--ctx-size", str(max(setup.max_total_len, setup.max_len) + SPARE_TOKENS * setup.max_batch),
            "--cache-ram", "0"])
        self._lock = threading.Lock()
        try:
            self._wait_until_healthy()
        except BaseException:
            self.close()
            raise

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """As the protocol says."""
        watch, errors = FirstTokens(len(prompts)), []
        threads = [threading.Thread(target=self._stream, args=(seq, prompt, output_len, watch, errors))
                   for seq, prompt in enumerate(prompts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise RuntimeError(f"llama-server: {errors[0]}") from errors[0]
        return watch.times()

    def close(self) -> None:
        """End the server."""
        self._server.terminate()
        self._server.wait()

    def _wait_until_healthy(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._server.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"llama-server did not start (exit code {self._server.poll()})")

    def _stream(self, seq: int, prompt: list[int], output_len: int, watch: FirstTokens,
                errors: list[Exception]) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port)
            connection.request("POST", "/completion", json.dumps({
                "prompt": prompt, "n_predict": output_len, "ignore_eos": True, "temperature": 0.0, "stream": True,
                "return_tokens": True, "cache_prompt": True}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"HTTP {response.status}: {response.read().decode()}")
            for line in response:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    with self._lock:
                        watch.add(seq, 0 if event.get("stop") else len(event["tokens"]))
        except Exception as error:      # a thread's error is told by the one that waits for it
            errors.append(error)


if __name__ == "__main__":
    serve(LlamaCpp)
