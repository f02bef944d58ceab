"""Runner for weft, through its class `LLM`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from protocol import Setup, Times, serve

from weft import LLM, SamplingParams, __version__


class Weft:
    """An `LLM`; its metrics give the times."""

    version = f"weft {__version__}"

    def __init__(self, setup: Setup) -> None:
        options = {"quantization": setup.quantization, "activation_dtype": setup.activation_dtype}
        quantized = {name: value for name, value in options.items() if value is not None}
        self._llm = LLM(setup.model, num_threads=setup.num_threads, max_model_len=setup.max_len,
                        use_tqdm_on_load=False, **quantized)

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """As the protocol says."""
        params = SamplingParams(temperature=0.0, max_tokens=output_len, ignore_eos=True, detokenize=False)
        start = time.monotonic()
        outputs = self._llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
        return Times(max(output.metrics.last_token_time for output in outputs) - start,
                     max(output.metrics.first_token_time for output in outputs) - start,
                     sum(len(output.outputs[0].token_ids) for output in outputs))

    def close(self) -> None:
        """Free the model."""
        self._llm.close()


if __name__ == "__main__":
    serve(Weft)
