"""Runner for vLLM on the CPU, whose engine runs in this process, step by step."""

from __future__ import annotations

import os
from collections.abc import Sequence

from protocol import FirstTokens, Setup, Times, serve

KV_CACHE_GIB = "4"


class Vllm:
    """An `LLM` whose engine is stepped directly, so that the times of first tokens are known."""

    def __init__(self, setup: Setup) -> None:
        # vLLM reads these only from the environment, when it is imported.
        os.environ |= {"VLLM_CPU_KVCACHE_SPACE": KV_CACHE_GIB, "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                       "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
        import vllm

        self.version = f"vLLM {vllm.__version__}"
        self._params = vllm.SamplingParams
        self._engine = vllm.LLM(model=setup.model, max_model_len=setup.max_len, max_num_seqs=setup.max_batch,
                                quantization=setup.quantization).llm_engine
        self._count = 0

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """As the protocol says."""
        params = self._params(temperature=0.0, max_tokens=output_len, ignore_eos=True, detokenize=False)
        watch, places, seen = FirstTokens(len(prompts)), {}, {}
        for place, ids in enumerate(prompts):
            self._count += 1
            places[str(self._count)] = place
            self._engine.add_request(str(self._count), {"prompt_token_ids": ids}, params)
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                now = len(output.outputs[0].token_ids)
                watch.add(places[output.request_id], now - seen.get(output.request_id, 0))
                seen[output.request_id] = now
        return watch.times()

    def close(self) -> None:
        """vLLM ends with the process."""


if __name__ == "__main__":
    serve(Vllm)
