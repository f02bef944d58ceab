"""How much memory a model needs, asked of the process that then loads it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_llama import make_checkpoint

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.process.measure import measure
from weft.engine.process.process_client import ProcessClient
from weft.engine.process.spare import CORE, Spare
from weft.errors import EngineDeadError, MemoryPlanError
from weft.resolve.engine_config import resolve_engine_config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = make_checkpoint(tmp_path_factory.mktemp("tiny"))
    return resolve_engine_config(EngineArgs(str(folder), num_threads=1, max_num_batched_tokens=64, max_num_seqs=4),
                                 Machine.detect())


def within(config, memory_bytes: int):
    return replace(config, cache=replace(config.cache, memory_bytes=memory_bytes))


def test_the_process_that_measured_loads_what_it_told(config):
    with Spare(CORE) as spare:
        need = measure(within(config, 2**30), spare)
        assert 0 < need.least_bytes < need.wanted_bytes < 2**30
        client = ProcessClient(within(config, need.least_bytes), lambda event: None, spare)
        try:
            # One whole sequence of the model's context fits into the least.
            assert client.info.max_model_len == 256
            assert client.info.memory_bytes <= need.least_bytes < client.info.memory_bytes + 2**16
        finally:
            client.close()


def test_a_cache_whose_size_was_set_is_needed_whole(config):
    fixed = replace(config, cache=replace(config.cache, kv_cache_memory_bytes=2**22))
    with Spare(CORE) as spare:
        need = measure(within(fixed, 2**30), spare)
        client = ProcessClient(within(fixed, need.least_bytes), lambda event: None, spare)
        client.close()

    assert need.least_bytes > 2**22


def test_a_need_above_the_limit_and_a_dead_process_are_errors(config):
    with Spare(CORE) as spare:
        with pytest.raises(MemoryPlanError, match="what there is for all models together"):
            measure(within(config, 1000), spare)
        with pytest.raises(EngineDeadError):            # it has ended
            measure(within(config, 2**30), spare)
