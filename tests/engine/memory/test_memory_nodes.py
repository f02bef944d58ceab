"""An engine on a machine with two memory nodes."""

import logging
from dataclasses import replace

import pytest
from isa_levels import native_levels
from tiny_llama import make_checkpoint

from weft.config.fact import Fact
from weft.config.machine import Machine
from weft.config.topology import NumaNode
from weft.llm import LLM
from weft.sampling_params import SamplingParams

CPUS = Machine.detect().cpus.value


def generated(path):
    with LLM(str(path), num_threads=2, kv_cache_memory_bytes=2**20, use_tqdm_on_load=False) as llm:
        outputs = llm.generate(["a", "some words", "b c"], SamplingParams(max_tokens=12, temperature=0, logprobs=3),
                               use_tqdm=False)
        return [(output.outputs[0].token_ids, output.outputs[0].logprobs) for output in outputs]


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
@pytest.mark.skipif(len(CPUS) < 2, reason="one CPU lies on one node")
def test_it_says_how_weights_are_divided_and_gives_the_same_numbers_as_on_one(tmp_path, caplog, monkeypatch):
    path = make_checkpoint(tmp_path)
    on_one = generated(path)
    found = replace(Machine.detect(), nodes=Fact((
        NumaNode(number=0, cpus=CPUS[::2], free_bytes=2**30), NumaNode(number=1, cpus=CPUS[1::2], free_bytes=2**30)),
        "test"))
    monkeypatch.setattr(Machine, "detect", lambda: found)
    caplog.set_level(logging.INFO, logger="weft")

    on_two = generated(path)

    assert on_two == on_one
    assert any(m.startswith("weights: each is divided among nodes: node 0 has ") for m in caplog.messages)
