"""What an engine says of the machine when it starts."""

import logging
from dataclasses import replace

import pytest
from isa_levels import native_levels
from machines import made_machine
from tiny_llama import make_checkpoint
from toy_engine import make_config

from weft.config.fact import Fact
from weft.config.topology import NumaNode
from weft.engine.memory.start_report import machine_facts, start_report
from weft.llm import LLM

GIB = 2**30
CONFIG = replace(make_config(None), num_threads=3, cpus=(0, 1, 2, 3, 8), cpu_isa="avx2", origins={
    "num_threads": "CPU quota of 3.5 in /sys/fs/cgroup/cpu.max", "cpus": "affinity of 9 CPUs",
    "cpu_isa": "option cpu_isa"})
MACHINE = replace(
    made_machine(flags=("fma", "avx2"), memory_bytes=16 * GIB, available_bytes=8 * GIB), l2_bytes=Fact(2**20, "/sys"),
    nodes=Fact((NumaNode(number=0, cpus=(0, 1), free_bytes=GIB), NumaNode(number=1, cpus=(2,), free_bytes=0)), "/sys"))


def test_a_line_for_each_group_of_facts_has_each_number_with_its_source():
    assert start_report(CONFIG, MACHINE) == [
        "threads: 3 (CPU quota of 3.5 in /sys/fs/cgroup/cpu.max), on CPUs 0-3,8 (affinity of 9 CPUs)",
        "instruction sets: native kernels up to avx2 (option cpu_isa); the processor has avx2 fma (test)",
        "memory: at most 16.00 GiB (test); free now 8.00 GiB (test)",
        "caches and nodes: L2 1024 KiB a core (/sys); node 0 with CPUs 0-1 has 1.00 GiB free; "
        "node 1 with CPUs 2 has 0 B free (/sys)",
    ]


def test_what_a_machine_does_not_tell_is_said_to_be_unknown():
    *_, caches = start_report(CONFIG, replace(MACHINE, l2_bytes=Fact(None, "no file")))

    assert caches.startswith("caches and nodes: L2 unknown (no file); node 0")


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
def test_nodes_that_divide_weights_are_told_with_their_parts():
    nodes = Fact(tuple(replace(node, free_bytes=GIB) for node in MACHINE.nodes.value), "/sys")
    two = replace(MACHINE, nodes=nodes)

    assert start_report(CONFIG, two)[-1] == (
        "weights: each is divided among nodes: node 0 has 2 of 3 parts (the threads' CPUs 0-1); "
        "node 1 has 1 of 3 parts (the threads' CPUs 2)")
    assert machine_facts(CONFIG, two)["nodes.1.weights"] == Fact("1 of 3 parts", "the threads' CPUs 2")
    assert len(start_report(replace(CONFIG, cpu_isa="reference"), two)) == 4, "torch's kernels know no nodes"


def test_facts_are_plain_data():
    facts = machine_facts(CONFIG, MACHINE)

    assert {type(fact.value) for fact in facts.values()} <= {int, str, type(None)}
    assert facts["nodes.1.free_bytes"] == Fact(0, "/sys")


@pytest.mark.parametrize(("level", "times"), [(logging.INFO, 1), (logging.WARNING, 0)])
def test_an_engine_reports_once_when_it_starts(tmp_path, caplog, level, times):
    caplog.set_level(level, logger="weft")

    with LLM(str(make_checkpoint(tmp_path)), num_threads=1, kv_cache_memory_bytes=2**20, use_tqdm_on_load=False) as llm:
        llm.generate("a", use_tqdm=False)

    for group in ("threads: 1 (option num_threads), on CPUs ", "instruction sets: native kernels up to ",
                  "memory: at most "):
        assert sum(message.startswith(group) for message in caplog.messages) == times
