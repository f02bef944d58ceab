"""Engines stay on their CPUs: whole processes under an affinity, and threads of a program that goes on beside them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tiny_llama import make_checkpoint

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.config.topology import parse_cpu_list
from weft.engine.process.process_client import ProcessClient
from weft.resolve.engine_config import resolve_engine_config

WAIT_S = 60
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
pytestmark = pytest.mark.skipif(len(CPUS) < 2 or not Path("/proc/self/task").is_dir(),
                                reason="needs Linux and two CPUs")

# An engine in a child process, started by a process that may use one CPU; it generates until its input ends.
SERVING = """
import asyncio, os, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
from weft import AsyncLLM, SamplingParams
from weft.config.engine_args import EngineArgs

async def main():
    engine = AsyncLLM.from_engine_args(EngineArgs(model=sys.argv[1], kv_cache_memory_bytes=2**22))
    print(engine.config.num_threads, engine._client.pid, flush=True)
    waiting, number = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read), 0
    while not waiting.done():
        number += 1
        params = SamplingParams(max_tokens=64, ignore_eos=True)
        async for output in engine.generate({"prompt_token_ids": [1, 2, 3]}, params, str(number)):
            pass
    engine.shutdown()

asyncio.run(main())
"""

# An engine in a program of two CPUs whose threads, two of them, are to run on the second.
IN_PROCESS = """
import json, os, sys
from dataclasses import replace
import torch
from weft import LLM, SamplingParams
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.resolve.engine_config import resolve_engine_config

config = resolve_engine_config(EngineArgs(model=sys.argv[1], kv_cache_memory_bytes=2**22, use_tqdm_on_load=False),
                               Machine.detect())
before, in_steps = set(os.listdir("/proc/self/task")), []
llm = LLM.from_config(replace(config, num_threads=2, cpus=(int(sys.argv[2]),)))
llm.apply_model(lambda model: model.register_forward_hook(lambda *_: in_steps.append(sorted(os.sched_getaffinity(0)))))
llm.generate({"prompt_token_ids": list(range(1, 200))}, SamplingParams(max_tokens=2), use_tqdm=False)
started = [sorted(os.sched_getaffinity(int(task))) for task in set(os.listdir("/proc/self/task")) - before]
print(json.dumps([in_steps, sorted(os.sched_getaffinity(0)), started]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=512)


@pytest.fixture
def start(model):
    """start(cpu): (the process, pids of it and of its engine, the engine's number of threads), ended after the test."""
    processes = []

    def make(cpu):
        process = subprocess.Popen([sys.executable, "-c", SERVING, str(model), str(cpu)], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        num_threads, engine = process.stdout.readline().split()
        return [process.pid, int(engine)], int(num_threads)

    yield make
    for process in processes:
        process.communicate(timeout=WAIT_S)


def of_each_thread(pid, name) -> dict[int, str]:
    """{thread: the text of its file of that name}, without those that end just now."""
    texts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            texts[int(task.name)] = (task / name).read_text()
    return texts


def last_cpus(pid) -> dict[int, int]:
    """{thread: the CPU it ran on last}: field 39 of its stat, counted from after the name, which may hold spaces."""
    return {task: int(text.rpartition(")")[2].split()[36]) for task, text in of_each_thread(pid, "stat").items()}


def allowed_cpus(pid) -> set[tuple[int, ...]]:
    texts = of_each_thread(pid, "status").values()
    return {parse_cpu_list(text.partition("Cpus_allowed_list:")[2].split()[0]) for text in texts}


def busy_threads(pid) -> int:
    """Threads that took more than a twentieth of the process's CPU time."""
    times = [thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()]
    return sum(t > sum(times) / 20 for t in times)


def test_two_engines_on_disjoint_cpus_stay_on_their_own_with_one_thread_each(start):
    first, second = CPUS[:2]
    engines = {first: start(first), second: start(second)}
    seen: dict[int, set[int]] = {first: set(), second: set()}
    before = {engine: psutil.Process(engine).cpu_times().user for (_, engine), _ in engines.values()}

    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for cpu, (pids, _) in engines.items():
            seen[cpu] |= {last for pid in pids for last in last_cpus(pid).values()}
        time.sleep(0.02)

    assert seen == {first: {first}, second: {second}}
    for cpu, ((parent, engine), num_threads) in engines.items():
        assert num_threads == 1
        assert allowed_cpus(parent) == allowed_cpus(engine) == {(cpu,)}
        assert psutil.Process(engine).cpu_times().user > before[engine]      # it did run
        assert busy_threads(engine) == 1


def test_an_engine_inside_a_program_keeps_its_own_threads_and_steps_only_to_its_cpus(model):
    second = CPUS[1]

    done = subprocess.run([sys.executable, "-c", IN_PROCESS, str(model), str(second)], text=True,
                          stdout=subprocess.PIPE, timeout=WAIT_S, check=True)

    in_steps, after, started = json.loads(done.stdout)
    assert in_steps == [[second]] * 2                                   # the calling thread, in both steps
    assert after == CPUS                                                # and when nothing runs
    assert started and all(cpus == [second] for cpus in started)        # torch's threads


def test_an_engine_process_keeps_all_its_threads_to_its_cpus_and_leaves_its_parent_free(model):
    second = CPUS[1]
    config = resolve_engine_config(EngineArgs(model=str(model), kv_cache_memory_bytes=2**22, use_tqdm_on_load=False),
                                   Machine.detect())
    client = ProcessClient(replace(config, num_threads=2, cpus=(second,)), lambda event: None)
    try:
        assert len(list(Path(f"/proc/{client.pid}/task").iterdir())) > 1
        assert allowed_cpus(client.pid) == {(second,)}
        assert sorted(os.sched_getaffinity(0)) == CPUS
    finally:
        client.close()
