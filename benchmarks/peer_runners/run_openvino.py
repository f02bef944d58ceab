"""Runner for OpenVINO GenAI: its continuous-batching pipeline, step by step, with a model exported by optimum-intel."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import openvino
import openvino_genai
from protocol import FirstTokens, Setup, Times, serve

CACHE_GIB = 4


class OpenVino:
    """A `ContinuousBatchingPipeline` with a prefix cache, as the others have one."""

    version = f"OpenVINO GenAI {openvino_genai.__version__.partition('-')[0]}"

    def __init__(self, setup: Setup) -> None:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GIB
        scheduler.max_num_seqs = setup.max_batch
        scheduler.enable_prefix_caching = True
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            setup.model, scheduler, "CPU", {"INFERENCE_NUM_THREADS": setup.num_threads})
        self._ids = itertools.count()

    def generate(self, prompts: Sequence[list[int]], output_len: int) -> Times:
        """As the protocol says."""
        config = openvino_genai.GenerationConfig(max_new_tokens=output_len, ignore_eos=True, do_sample=False)
        tensors = [openvino.Tensor(np.array([prompt], dtype=np.int64)) for prompt in prompts]
        watch = FirstTokens(len(prompts))
        handles = [self._pipeline.add_request(next(self._ids), tensor, config) for tensor in tensors]
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
            for seq, handle in enumerate(handles):
                while handle.can_read():
                    watch.add(seq, sum(len(output.generated_ids) for output in handle.read().values()))
        return watch.times()

    def close(self) -> None:
        """The pipeline ends with the process."""


if __name__ == "__main__":
    serve(OpenVino)
