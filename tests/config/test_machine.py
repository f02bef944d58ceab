"""What the process may use of a machine, read from trees of /proc and /sys that the tests lay out."""

import pytest

from weft.config.machine import Machine

GIB = 2**30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:    8388608 kB\n"
CPUINFO = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 avx512f avx512_bf16 amx_bf16 hypervisor\n"


def lay_out(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def machine(root, files=None, *, cpus=4, smt=False):
    siblings = {cpu: f"{cpu % (cpus // 2)},{cpu % (cpus // 2) + cpus // 2}" if smt else str(cpu) for cpu in range(cpus)}
    topology = {f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{text}\n"
                for cpu, text in siblings.items()}
    lay_out(root, {"proc/meminfo": MEMINFO, "proc/cpuinfo": CPUINFO} | topology | (files or {}))
    return root


def test_every_core_of_the_affinity_counts_once(tmp_path):
    found = Machine.detect(machine(tmp_path), affinity=[0, 2, 3])

    assert found.num_cores.value == 3
    assert found.num_cores.source == "affinity of 3 CPUs"


def test_smt_siblings_are_left_out(tmp_path):
    found = Machine.detect(machine(tmp_path, cpus=8, smt=True), affinity=range(8))

    assert found.num_cores.value == 4
    assert "4 SMT siblings left out" in found.num_cores.source


def test_one_sibling_alone_is_a_core(tmp_path):
    found = Machine.detect(machine(tmp_path, cpus=8, smt=True), affinity=[4, 5])

    assert found.num_cores.value == 2


def test_without_topology_the_affinity_counts(tmp_path):
    found = Machine.detect(lay_out(tmp_path, {"proc/meminfo": MEMINFO}), affinity=range(6))

    assert found.num_cores.value == 6


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1),
                                              ("max 100000", 4), ("800000 100000", 4), ("", 4)])
def test_a_version_2_cpu_quota_is_rounded_down_and_never_below_one(tmp_path, quota, cores):
    found = Machine.detect(machine(tmp_path, {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": quota}),
                           affinity=range(4))

    assert found.num_cores.value == cores


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


def test_physical_memory_counts_when_it_is_less_than_the_limit(tmp_path):
    found = Machine.detect(machine(tmp_path, {"sys/fs/cgroup/memory.max": str(64 * GIB)}), affinity=range(4))

    assert (found.memory_bytes.value, found.memory_bytes.source) == (16 * GIB, "MemTotal in /proc/meminfo")
    assert (found.available_bytes.value, found.available_bytes.source) == (8 * GIB, "MemAvailable in /proc/meminfo")


def test_instruction_sets_that_kernels_ask_for_are_kept(tmp_path):
    found = Machine.detect(machine(tmp_path), affinity=[0])

    assert found.isa.value == {"avx2", "avx512f", "avx512_bf16", "amx_bf16"}
    assert found.isa.source == "/proc/cpuinfo"


def test_arm_calls_its_flags_features(tmp_path):
    cpuinfo = "Features\t: fp asimd asimddp sve i8mm bf16\n"

    found = Machine.detect(machine(tmp_path, {"proc/cpuinfo": cpuinfo}), affinity=[0])

    assert found.isa.value == {"asimd", "asimddp", "sve", "i8mm", "bf16"}


def test_a_system_without_proc_and_sys_still_has_cores_and_memory(tmp_path):
    found = Machine.detect(tmp_path, affinity=range(3))

    assert found.num_cores.value == 3
    assert found.memory_bytes.source == "psutil"
    assert found.available_bytes.value <= found.memory_bytes.value


def test_this_machine_has_at_least_a_core_and_some_memory():
    found = Machine.detect()

    assert found.num_cores.value >= 1
    assert 0 < found.available_bytes.value <= found.memory_bytes.value
