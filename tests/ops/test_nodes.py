"""Weights divided among memory nodes: each thread takes its own node's part first, and no number changes."""

import ctypes
import errno
import mmap
import os
import platform
import sys
from collections import Counter

import pytest
import torch
from isa_levels import native_levels

from weft.config.topology import NumaNode
from weft.ops.linear import Epilogue, LinearCase, choose_linear, empty_weight
from weft.ops.moe import MoECase, Routing, choose_moe
from weft.ops.native import extension
from weft.ops.nodes import MemoryNodes

pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")
HERE = tuple(range(os.cpu_count() or 1))       # whichever this process may use
ELSEWHERE = 8000                               # a CPU that this machine hasn't
levels = pytest.mark.parametrize("isa", native_levels())


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def node(number, *cpus):
    return NumaNode(number=number, cpus=cpus, free_bytes=2**30)


def two_nodes():
    """The CPUs of this machine taken in turn as those of two nodes."""
    return MemoryNodes([node(0, ELSEWHERE, *HERE[::2]), node(1, *(HERE[1::2] or (ELSEWHERE + 1,)))])


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("outer, groups, inner", [
    (1, 24, 1), (1, 25, 1), (1, 7, 3), (8, 4, 1), (3, 1, 1), (1, 2, 1), (1, 1, 1), (0, 4, 1)])
@pytest.mark.parametrize("nodes", [None, two_nodes])
def test_each_piece_of_work_is_done_exactly_once(outer, groups, inner, nodes):
    native = nodes and nodes().native

    pieces = extension().division(native, outer, groups, inner)

    assert Counter((o, g, i) for _, o, g, i in pieces) == Counter(
        (o, g, i) for o in range(outer) for g in range(groups) for i in range(inner))


@pytest.mark.parametrize("own", [0, 1, 2])
@pytest.mark.parametrize("outer, inner", [(1, 1), (3, 1), (1, 2)])
def test_a_thread_takes_the_groups_of_the_node_that_it_runs_on_first_and_then_helps(own, outer, inner):
    cpus = [(ELSEWHERE,), (ELSEWHERE + 1,), (ELSEWHERE + 2,)]
    cpus[own] = (*HERE, *range(8100, 8100 + 9 - len(HERE)))[:9]           # 9 CPUs to one: 9 of 11 parts
    nodes = MemoryNodes([node(number, *cpus[number]) for number in range(3)])

    pieces = extension().division(nodes.native, outer, 22, inner)

    bounds = [0, *(22 * sum(map(len, cpus[: n + 1])) // 11 for n in range(3))]
    in_turn = [(own + step) % 3 for step in range(3)]
    for thread in {piece[0] for piece in pieces}:
        owners = [next(n for n in range(3) if group < bounds[n + 1]) for t, _, group, _ in pieces if t == thread]
        assert owners == sorted(owners, key=in_turn.index), "own, then the next ones in turn"
    assert bounds[own + 1] - bounds[own] == 18


@pytest.mark.parametrize("faulty", [[], [(-1, [0])], [(1024, [0])], [(0, [])], [(n, [n]) for n in range(65)]])
def test_nodes_that_cannot_be_are_refused(faulty):
    with pytest.raises(ValueError, match="node"):
        extension().Nodes(faulty)


@levels
@pytest.mark.parametrize("quantized", [None, "int8", "int4", "w8a8"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("num_tokens", [1, 5, 300])
def test_products_are_bitwise_the_same_on_two_nodes_as_on_one(isa, quantized, gated, num_tokens):
    x = random(num_tokens, 128, seed=1)

    def product(nodes):
        case = LinearCase(device="cpu", dtype=torch.float32, in_features=128, out_features=640, isa=isa,
                          gated=gated, quantization=quantized, nodes=nodes)
        weight = empty_weight(case)
        weight.copy_(random(640, 128))
        epilogue = Epilogue(out_dtype=torch.float32, gated=gated, act="silu" if gated else None)
        return choose_linear(case).prepare(weight, None, epilogue)(x)

    assert torch.equal(product(two_nodes()), product(None))


@levels
@pytest.mark.parametrize("quantized", [None, "int4"])
@pytest.mark.parametrize("num_tokens", [1, 40])
def test_experts_are_bitwise_the_same_on_two_nodes_as_on_one(isa, quantized, num_tokens):
    x, logits = random(num_tokens, 64, seed=1), random(num_tokens, 4, seed=2)

    def result(nodes):
        case = MoECase(device="cpu", dtype=torch.float32, hidden_size=64, intermediate_size=96, act="silu", isa=isa,
                       quantization=quantized, nodes=nodes)
        routing = Routing(top_k=2, renormalize=True, act="silu")
        return choose_moe(case).prepare(random(4, 192, 64), random(4, 64, 96, seed=3), routing)(x, logits)

    assert torch.equal(result(two_nodes()), result(None))


def test_a_weight_keeps_its_nodes():
    case = LinearCase(device="cpu", dtype=torch.float32, in_features=64, out_features=640, isa=native_levels()[0],
                      nodes=two_nodes())
    product = choose_linear(case).prepare(random(640, 64), None, Epilogue(out_dtype=torch.float32))
    x, expected = random(3, 64, seed=1), product(random(3, 64, seed=1))

    del case

    assert torch.equal(product(x), expected)


# Placing pages


def page_nodes(address, num_pages):
    """The node of each page, asked of the system by move_pages. Source: move_pages(2)."""
    pages = (ctypes.c_void_p * num_pages)(*(address + i * mmap.PAGESIZE for i in range(num_pages)))
    status = (ctypes.c_int * num_pages)()
    if ctypes.CDLL(None).syscall(279, 0, ctypes.c_ulong(num_pages), pages, None, status, 0):
        pytest.skip("move_pages is not allowed here")
    return list(status)


on_linux = pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="Linux on x86-64")


@on_linux
@pytest.mark.parametrize("gated", [False, True])
def test_pages_lie_on_the_node_they_were_moved_to_and_keep_their_content(gated):
    memory = torch.arange(2**17)                                          # 1 MiB
    nodes = MemoryNodes([node(0, *HERE)])

    nodes.place([memory], 64 * 8, gated=gated)

    if nodes.refused == os.strerror(errno.EPERM):
        pytest.skip("mbind is not allowed here")
    assert nodes.refused is None
    first = -(-memory.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    assert set(page_nodes(first, 200)) == {0}
    assert torch.equal(memory, torch.arange(2**17))


@on_linux
def test_a_refusal_is_said_once_and_the_weight_works_where_it_is(caplog):
    nodes = MemoryNodes([node(0, *HERE), node(1023, ELSEWHERE)])          # no machine has this node
    memory = torch.arange(2**17)

    nodes.place([memory, memory], 64 * 8, gated=False)
    nodes.place([memory], 64 * 8, gated=True)

    assert nodes.refused in {os.strerror(code) for code in (errno.EINVAL, errno.EPERM, errno.ENOSYS)}
    assert caplog.messages == ["weights stay on the memory nodes where they are: the system does not move pages "
                               f"({nodes.refused}). A container may need the capability SYS_NICE for it."]
    assert torch.equal(memory, torch.arange(2**17))


@on_linux
def test_parts_too_small_for_a_page_are_left_where_they_are():
    nodes = MemoryNodes([node(0, *HERE), node(1023, ELSEWHERE)])

    nodes.place([torch.zeros(64 * 8)], 64 * 8, gated=False)

    assert nodes.refused is None
