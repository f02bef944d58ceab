"""What the process may use of a machine, read from trees of /proc and /sys that the tests lay out."""

import pytest
from machines import GIB, MEMINFO, lay_out, with_cores

from weft.config.machine import Machine

FOUR, FOUR_OF_TWO = ("0", "1", "2", "3"), ("0,4", "1,5", "2,6", "3,7")      # cores, by their CPUs


def machine(root, files=None):
    return with_cores(root, *FOUR, files=files)


def test_every_core_of_the_affinity_counts_once(tmp_path):
    found = Machine.detect(machine(tmp_path), affinity=[0, 2, 3])

    assert found.num_cores.value == 3
    assert found.num_cores.source == "affinity of 3 CPUs"


def test_smt_siblings_are_left_out(tmp_path):
    found = Machine.detect(with_cores(tmp_path, *FOUR_OF_TWO), affinity=range(8))

    assert found.cpus.value == (0, 1, 2, 3, 4, 5, 6, 7)
    assert found.cores.value == (0, 1, 2, 3)
    assert found.num_cores.value == 4
    assert found.num_cores.source == "affinity of 8 CPUs, 4 SMT siblings left out"


def test_one_sibling_alone_is_a_core(tmp_path):
    found = Machine.detect(with_cores(tmp_path, *FOUR_OF_TWO), affinity=[4, 1, 5])

    assert found.cores.value == (1, 4)
    assert found.num_cores.value == 2


def test_siblings_may_be_neighbours_and_four_to_a_core(tmp_path):
    found = Machine.detect(with_cores(tmp_path, "0,1,2,3", "4,5,6,7"), affinity=[2, 3, 4, 5, 6, 7])

    assert found.cores.value == (2, 4)


def test_older_kernels_call_the_file_of_siblings_by_another_name(tmp_path):
    folder = "sys/devices/system/cpu"
    lay_out(tmp_path, {f"{folder}/cpu{n}/topology/thread_siblings_list": "0-1\n" for n in (0, 1)})

    assert Machine.detect(tmp_path, affinity=[0, 1]).cores.value == (0,)


def test_without_topology_the_affinity_counts(tmp_path):
    found = Machine.detect(lay_out(tmp_path, {"proc/meminfo": MEMINFO}), affinity=range(6))

    assert (found.num_cores.value, found.cores.value) == (6, (0, 1, 2, 3, 4, 5))
    assert found.cores.source == "affinity of 6 CPUs, topology unknown"


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1),
                                              ("max 100000", 4), ("800000 100000", 4), ("", 4)])
def test_a_version_2_cpu_quota_is_rounded_down_and_never_below_one(tmp_path, quota, cores):
    found = Machine.detect(machine(tmp_path, {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": quota}),
                           affinity=range(4))

    assert found.num_cores.value == cores


def test_a_quota_limits_how_many_cores_are_busy_and_not_which(tmp_path):
    found = Machine.detect(with_cores(tmp_path, *FOUR_OF_TWO, files={
        "proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "250000 100000"}), affinity=range(8))

    assert (found.cpu_quota.value, found.cpu_quota.source) == (2.5, "/sys/fs/cgroup/job/cpu.max")
    assert (found.num_cores.value, found.cores.value) == (2, (0, 1, 2, 3))


def test_without_a_quota_there_is_none(tmp_path):
    found = Machine.detect(machine(tmp_path), affinity=range(4))

    assert (found.cpu_quota.value, found.cpu_quota.source) == (None, "no CPU quota in /sys/fs/cgroup")


def test_a_parent_groups_limits_count_too(tmp_path):
    found = Machine.detect(machine(tmp_path, {
        "proc/self/cgroup": "0::/slice/job\n",
        "sys/fs/cgroup/slice/job/cpu.max": "400000 100000",
        "sys/fs/cgroup/slice/cpu.max": "300000 100000",
        "sys/fs/cgroup/slice/job/memory.max": str(8 * GIB),
        "sys/fs/cgroup/slice/memory.max": str(4 * GIB),
    }), affinity=range(4))

    assert found.num_cores.value == 3
    assert found.num_cores.source == "CPU quota of 3 in /sys/fs/cgroup/slice/cpu.max"
    assert found.memory_bytes.value == 4 * GIB
    assert found.memory_bytes.source == "/sys/fs/cgroup/slice/memory.max"


def test_version_1_limits_are_read_from_each_controllers_tree(tmp_path):
    found = Machine.detect(machine(tmp_path, {
        "proc/self/cgroup": "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{2 * GIB}\n",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{GIB}\n",
        "sys/fs/cgroup/memory/box/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}\n",
    }), affinity=range(4))

    assert found.num_cores.value == 2
    assert found.memory_bytes.value == 2 * GIB
    assert found.available_bytes.value == 2 * GIB - (GIB - GIB // 4)


def test_version_1_without_limits_is_no_limit(tmp_path):
    found = Machine.detect(machine(tmp_path, {
        "proc/self/cgroup": "4:memory:/\n2:cpu:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }), affinity=range(4))

    assert found.num_cores.value == 4
    assert found.memory_bytes.value == 16 * GIB


def test_a_group_that_the_container_cannot_see_falls_back_to_the_mounts_root(tmp_path):
    found = Machine.detect(machine(tmp_path, {"proc/self/cgroup": "0::/docker/abc\n",
                                              "sys/fs/cgroup/memory.max": str(GIB)}), affinity=range(4))

    assert found.memory_bytes.value == GIB


def test_page_cache_of_the_group_counts_as_available(tmp_path):
    found = Machine.detect(machine(tmp_path, {
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/memory.max": str(4 * GIB),
        "sys/fs/cgroup/job/memory.current": str(3 * GIB),
        "sys/fs/cgroup/job/memory.stat": f"anon {GIB}\ninactive_file {GIB}\nactive_file {GIB}\n",
    }), affinity=range(4))

    assert found.available_bytes.value == 3 * GIB
    assert found.available_bytes.source == "/sys/fs/cgroup/job/memory.max less what is used of it"


def test_memory_above_which_the_kernel_slows_the_group_down_is_a_limit(tmp_path):
    found = Machine.detect(machine(tmp_path, {"proc/self/cgroup": "0::/job\n",
                                              "sys/fs/cgroup/job/memory.max": str(4 * GIB),
                                              "sys/fs/cgroup/job/memory.high": str(3 * GIB)}), affinity=range(4))

    assert (found.memory_bytes.value, found.memory_bytes.source) == (3 * GIB, "/sys/fs/cgroup/job/memory.high")


def test_physical_memory_counts_when_it_is_less_than_the_limit(tmp_path):
    found = Machine.detect(machine(tmp_path, {"sys/fs/cgroup/memory.max": str(64 * GIB)}), affinity=range(4))

    assert (found.memory_bytes.value, found.memory_bytes.source) == (16 * GIB, "MemTotal in /proc/meminfo")
    assert (found.available_bytes.value, found.available_bytes.source) == (8 * GIB, "MemAvailable in /proc/meminfo")


def test_an_arm_board_has_cores_flags_and_memory_as_an_x86_machine_does(tmp_path):
    root = with_cores(tmp_path, *FOUR, files={
        "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimddp i8mm bf16\n"})

    found = Machine.detect(root, affinity=range(4))

    assert (found.num_cores.value, found.memory_bytes.value) == (4, 16 * GIB)
    assert found.isa.value == {"asimd", "asimddp", "i8mm", "bf16"}


def test_a_system_without_proc_and_sys_still_has_cores_and_memory(tmp_path):
    found = Machine.detect(tmp_path, affinity=range(3))

    assert (found.num_cores.value, found.cores.value, found.cpu_quota.value) == (3, (0, 1, 2), None)
    assert found.memory_bytes.source == "psutil"
    assert found.available_bytes.value <= found.memory_bytes.value
    assert [node.cpus for node in found.nodes.value] == [(0, 1, 2)]
    assert found.l2_bytes.value is None


def test_this_machine_has_at_least_a_core_and_some_memory():
    found = Machine.detect()

    assert 1 <= found.num_cores.value <= len(found.cores.value) <= len(found.cpus.value)
    assert 0 < found.available_bytes.value <= found.memory_bytes.value
