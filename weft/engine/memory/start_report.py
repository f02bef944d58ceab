"""The report at start: the machine's properties and the settings derived from them, each number with its source.

The engine logs the report once. `weft inspect` shows the same facts. This module decides nothing.
"""

from __future__ import annotations

from weft.config.engine_config import EngineConfig
from weft.config.fact import Fact
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.config.threads import nodes_of_threads
from weft.config.topology import cpu_list
from weft.ops.native import unavailable


def machine_facts(config: EngineConfig, machine: Machine) -> dict[str, Fact]:
    """Facts by name: fields of EngineConfig and of Machine; a NUMA node's facts under `nodes.N`. Values are plain data.
    """
    origin = config.origins.get
    facts = {
        "num_threads": Fact(config.num_threads, origin("num_threads", "config")),
        "cpus": Fact(cpu_list(config.cpus) or "any", origin("cpus", "config")),
        "cpu_quota": machine.cpu_quota,
        "cpu_isa": Fact(config.cpu_isa, origin("cpu_isa", "config")),
        "isa": Fact(" ".join(sorted(machine.isa.value)) or "-", machine.isa.source),
        "memory_bytes": machine.memory_bytes,
        "available_bytes": machine.available_bytes,
        "l2_bytes": machine.l2_bytes,
    }
    for node in machine.nodes.value:
        facts[f"nodes.{node.number}.cpus"] = Fact(cpu_list(node.cpus), machine.nodes.source)
        facts[f"nodes.{node.number}.free_bytes"] = Fact(node.free_bytes, machine.nodes.source)
    parts = _parts(config, machine)
    for number, cpus in parts.items():
        total = sum(map(len, parts.values()))
        facts[f"nodes.{number}.weights"] = Fact(f"{len(cpus)} of {total} parts", f"the threads' CPUs {cpu_list(cpus)}")
    return facts


def start_report(config: EngineConfig, machine: Machine) -> list[str]:
    """Log lines for threads, instruction sets, memory and caches, and for weights if NUMA nodes divide them."""
    facts = machine_facts(config, machine)
    memory, free, l2 = machine.memory_bytes, machine.available_bytes, machine.l2_bytes
    cache = f"{l2.value // 1024} KiB a core" if l2.value is not None else "unknown"
    nodes = "; ".join(f"node {node.number} with CPUs {cpu_list(node.cpus)} has {human_bytes(node.free_bytes)} free"
                      for node in machine.nodes.value)
    parts = [f"node {number} has {_said(facts[f'nodes.{number}.weights'])}" for number in _parts(config, machine)]
    return [
        f"threads: {_said(facts['num_threads'])}, on CPUs {_said(facts['cpus'])}",
        f"instruction sets: native kernels up to {_said(facts['cpu_isa'])}; the processor has {_said(facts['isa'])}",
        f"memory: at most {human_bytes(memory.value)} ({memory.source}); "
        f"free now {human_bytes(free.value)} ({free.source})",
        f"caches and nodes: L2 {cache} ({l2.source}); {nodes} ({machine.nodes.source})",
        *([f"weights: each is divided among nodes: {'; '.join(parts)}"] if parts else []),
    ]


def _parts(config: EngineConfig, machine: Machine) -> dict[int, tuple[int, ...]]:
    """{number of a NUMA node: the CPUs that compute with its part of each weight}; {} if weights are not divided."""
    if unavailable("cpu", config.cpu_isa):                    # torch's kernels do not divide weights
        return {}
    return {node.number: node.cpus for node in nodes_of_threads(config.num_threads, config.cpus, machine)}


def _said(fact: Fact) -> str:
    return f"{fact.value} ({fact.source})"
