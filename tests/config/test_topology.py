"""How CPUs lie in the machine: lists, NUMA nodes and caches, from trees of /sys that the tests lay out."""

import pytest
from machines import lay_out, with_cores

from weft.config.machine import Machine
from weft.config.topology import cpu_list, l2_bytes, numa_nodes, parse_cpu_list

NODE, CPU = "sys/devices/system/node", "sys/devices/system/cpu"


def node_files(number, cpus, *, free_kb, file_kb=0):
    return {f"{NODE}/node{number}/cpulist": f"{cpus}\n", f"{NODE}/node{number}/meminfo": (
        f"Node {number} MemTotal:       9999999 kB\nNode {number} MemFree:        {free_kb} kB\n"
        f"Node {number} Active(file):   {file_kb} kB\nNode {number} AnonPages:      777 kB\n")}


def cache_files(cpu, *, level, size, shared="", kind="Unified", index=2):
    folder = f"{CPU}/cpu{cpu}/cache/index{index}"
    return {f"{folder}/level": f"{level}\n", f"{folder}/size": f"{size}\n", f"{folder}/type": f"{kind}\n",
            f"{folder}/shared_cpu_list": f"{shared or cpu}\n"}


@pytest.mark.parametrize(("text", "cpus"), [
    ("0-3", (0, 1, 2, 3)), ("0", (0,)), ("0-1,8,10-11", (0, 1, 8, 10, 11)), ("", ()), ("\n", ()), ("3,1", (1, 3)),
])
def test_a_cpu_list_is_read_as_the_kernel_writes_it(text, cpus):
    assert parse_cpu_list(text) == cpus


@pytest.mark.parametrize(("cpus", "text"), [((0, 1, 2, 3), "0-3"), ((0,), "0"), ((0, 1, 8, 10, 11), "0-1,8,10-11"),
                                            ((), "")])
def test_a_cpu_list_is_written_as_the_kernel_does(cpus, text):
    assert cpu_list(cpus) == text


def test_each_node_has_its_own_of_the_allowed_cpus_and_its_free_memory(tmp_path):
    root = with_cores(tmp_path, "0,4", "1,5", "2,6", "3,7", files={
        **node_files(0, "0-1,4-5", free_kb=1024, file_kb=512), **node_files(1, "2-3,6-7", free_kb=2048)})

    found = Machine.detect(root, affinity=[0, 1, 2, 4])

    assert [(node.number, node.cpus, node.free_bytes) for node in found.nodes.value] == [
        (0, (0, 1, 4), 1536 * 1024), (1, (2,), 2048 * 1024)]
    assert found.nodes.source == "/sys/devices/system/node"


def test_a_node_without_an_allowed_cpu_is_left_out(tmp_path):
    root = lay_out(tmp_path, node_files(0, "0-3", free_kb=1) | node_files(1, "4-7", free_kb=1)
                   | node_files(2, "", free_kb=1))      # memory alone

    assert [node.number for node in numa_nodes(root, (5,), 0).value] == [1]


def test_nodes_are_in_the_order_of_their_numbers(tmp_path):
    files = {}
    for number in (10, 2, 0):
        files |= node_files(number, str(number), free_kb=1)

    assert [node.number for node in numa_nodes(lay_out(tmp_path, files), (0, 2, 10), 0).value] == [0, 2, 10]


def test_memory_of_a_node_that_the_cpuset_forbids_is_not_free(tmp_path):
    root = lay_out(tmp_path, node_files(0, "0", free_kb=4) | node_files(1, "1", free_kb=8)
                   | {"proc/self/status": "Cpus_allowed_list:\t0-1\nMems_allowed_list:\t1\n"})

    assert [node.free_bytes for node in numa_nodes(root, (0, 1), 0).value] == [0, 8 * 1024]


def test_without_nodes_the_machine_is_one(tmp_path):
    fact = numa_nodes(tmp_path, (0, 1), 4096)

    assert [(node.number, node.cpus, node.free_bytes) for node in fact.value] == [(0, (0, 1), 4096)]
    assert fact.source == "no nodes in /sys/devices/system/node: taken as one"


def test_the_second_level_cache_of_a_core_is_found_among_the_others(tmp_path):
    root = with_cores(tmp_path, "0", files={
        **cache_files(0, level=1, size="32K", kind="Data", index=0), **cache_files(0, level=2, size="1024K"),
        **cache_files(0, level=3, size="32768K", shared="0-7", index=3)})

    assert l2_bytes(root, (0,)).value == 2**20


def test_a_cache_that_two_threads_of_one_core_share_is_all_the_cores(tmp_path):
    root = with_cores(tmp_path, "0,2", "1,3", files=cache_files(0, level=2, size="2048K", shared="0,2"))

    assert l2_bytes(root, (0,)).value == 2**21


def test_a_cache_that_several_cores_share_is_divided_and_the_least_counts(tmp_path):
    root = with_cores(tmp_path, "0", "1", "2", "3", "4", files={
        **cache_files(0, level=2, size="4096K", shared="0-3"), **cache_files(4, level=2, size="2048K")})

    assert l2_bytes(root, (0, 4)).value == 2**20
    assert l2_bytes(root, (4,)).value == 2**21


def test_a_machine_that_does_not_tell_its_caches_has_none_known(tmp_path):
    assert l2_bytes(with_cores(tmp_path, "0"), (0,)).value is None
