"""`check_attention` names the first argument that a kernel would misread; what it lets through gives right results."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from isa_levels import native_levels

from weft.errors import FieldError
from weft.ops.attention import (
    AlibiBias,
    AttentionParams,
    attention_plan,
    cache_shape,
    check_attention,
    cpu,
    matmul,
    reference,
    sdpa,
)
from weft.ops.attention.by_piece import by_piece

KERNELS = {"sdpa": by_piece(sdpa.attend), "matmul": by_piece(matmul.attend)} | {
    isa: cpu.make_run(isa) for isa in native_levels()}
PARAMS = AttentionParams(scale=0.25)


def call(dtype=torch.bfloat16, cache_dtype=None):
    """The arguments of a sound call: a decode after 20 tokens and a prompt of 5, 4 query heads of 2 heads of 16."""
    plan = attention_plan(query_lens=[1, 5], seq_lens=[21, 5], num_decodes=1,
                          slots=np.array([3 * 16 + 4, *range(5 * 16, 5 * 16 + 5)]), table=np.array([[2, 3], [5, -1]]),
                          block_size=16)
    generator = torch.manual_seed(0)
    q, k, v = (torch.randn(6, heads, 16, generator=generator).to(dtype) for heads in (4, 2, 2))
    stored = cache_dtype or dtype
    caches = [torch.zeros(cache_shape(8, 2, 16, 16, stored), dtype=stored) for _ in range(2)]
    return {"q": q, "k": k, "v": v, "k_cache": caches[0], "v_cache": caches[1], "plan": plan, "params": PARAMS,
            "out": torch.empty_like(q)}


def changed(**changes):
    """A call with arguments replaced by what functions make of them."""
    arguments = call()
    return arguments | {name: change(arguments[name]) for name, change in changes.items()}


def of_plan(**fields):
    return lambda plan: replace(plan, **fields)


def table(*rows):
    return np.array(rows, dtype=np.int32)


WRONG = [
    ("q.shape", "[6, H, D], the plan's queries", changed(q=lambda q: q[:5])),
    ("q.shape", "[6, H, D], the plan's queries", changed(q=lambda q: q.flatten(1))),
    ("q.dtype", "float32, bfloat16 or float16", changed(q=lambda q: q.double())),
    ("q.stride()", "(any, 16, 1), a token's heads together. Call contiguous()", changed(
        q=lambda q: q.transpose(0, 1).contiguous().transpose(0, 1))),
    ("k.stride()", "(any, 16, 1)", changed(k=lambda k: torch.cat((k, k), -1)[..., ::2])),
    ("k.shape", "(6, 2, 16), the plan's slots and the cache's heads", changed(k=lambda k: k[:, :1])),
    ("v.shape", "(6, 2, 16)", changed(v=lambda v: v[:5])),
    ("k.dtype", "torch.bfloat16, q's", changed(k=lambda k: k.float())),
    ("v.dtype", "torch.bfloat16, q's", changed(v=lambda v: v.half())),
    ("v.device", "cpu, q's", changed(v=lambda v: v.to("meta"))),
    ("k", "6 new keys and values: the plan has slots for them", changed(k=lambda k: None)),
    ("v", "6 new keys and values", changed(v=lambda v: None)),
    ("k_cache.dtype", "torch.bfloat16, q's, or 8 bits", changed(k_cache=lambda c: c.half())),
    ("v_cache.dtype", "torch.bfloat16, k_cache's", changed(v_cache=lambda c: c.to(torch.int8))),
    ("k_cache.shape", "[B, Hkv, P, R] with 4 a multiple of Hkv", changed(
        k_cache=lambda c: c[:, :1].expand(-1, 3, -1, -1))),
    ("k_cache.shape", "(8, 2, 16, 16), by q's heads", changed(k_cache=lambda c: c[..., :8].contiguous())),
    ("v_cache.shape", "(8, 2, 16, 16)", changed(v_cache=lambda c: c[:7])),
    ("k_cache.stride()", "contiguous [8, 2, 16, 16]", changed(k_cache=lambda c: c.transpose(2, 3))),
    ("out.shape", "(6, 4, 16), q's", changed(out=lambda out: out[:5])),
    ("out.dtype", "torch.bfloat16, q's", changed(out=lambda out: out.float())),
    ("out.stride()", "contiguous [6, 4, 16]", changed(out=lambda out: torch.cat((out, out), -1)[..., :16])),
    ("params.sinks.shape", "(4,), one for each query head", changed(params=lambda p: replace(p, sinks=torch.zeros(2)))),
    ("params.sinks.dtype", "torch.float32", changed(params=lambda p: replace(p, sinks=torch.zeros(4).bfloat16()))),
    ("params.alibi.slopes.shape", "(4,)", changed(params=lambda p: replace(p, alibi=AlibiBias(slopes=torch.ones(3))))),
    ("params.bias_by_distance.shape", "(4, 9)", changed(
        params=lambda p: replace(p, bias_by_distance=torch.ones(4, 8)))),
    ("params.bias_by_distance.stride()", "contiguous [4, 9]. Call contiguous()", changed(
        params=lambda p: replace(p, bias_by_distance=torch.ones(9, 4).t()))),
    ("plan.slots[1]", "0 to 127", changed(plan=of_plan(slots=np.array([52, 128, 81, 82, 83, 84])))),
    ("plan.slots[0]", "0 to 127", changed(plan=of_plan(slots=np.array([-1, 80, 81, 82, 83, 84])))),
    ("plan.table[0, 0]", "a block, 0 to 7", changed(plan=of_plan(table=table([8, 3], [5, -1])))),
    ("plan.table[0, 1]", "a block, 0 to 7", changed(plan=of_plan(table=table([2, -1], [5, -1])))),
    ("plan.table.shape", "[2, M], a row for each of seq_lens", changed(plan=of_plan(table=table([2, 3])))),
    ("plan.seq_lens[0]", "1 (its queries) to 32, what its row", changed(plan=of_plan(seq_lens=(33, 5)))),
    ("plan.seq_lens[1]", "5 (its queries) to 32", changed(plan=of_plan(seq_lens=(21, 4)))),
    ("plan.query_lens", "1 for the first 2, num_decodes", changed(plan=of_plan(num_decodes=2))),
]


@pytest.mark.parametrize(("field", "expected", "arguments"), WRONG, ids=[
    f"{field}-{i}" for i, (field, _, _) in enumerate(WRONG)])
def test_a_wrong_argument_is_named_with_what_was_expected(field, expected, arguments):
    with pytest.raises(FieldError) as error:
        check_attention(**arguments)

    assert error.value.field == field
    assert f"expected {expected}" in str(error.value)


@pytest.mark.parametrize("cache_dtype", [None, torch.int8, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_sound_call_passes_again_and_again(dtype, cache_dtype):
    arguments = call(dtype, cache_dtype)

    for _ in range(2):
        check_attention(**arguments)
    check_attention(**arguments | {"out": None})


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_tokens_may_lie_apart_each_of_q_k_and_v_in_its_own_way(kernel):
    sound = call()
    q, k, v = sound["q"], sound["k"], sound["v"]
    fused = torch.full((6, 11, 16), torch.nan, dtype=q.dtype)         # q and k within wider rows, v by itself
    fused[:, 1:5], fused[:, 6:8] = q, k
    apart = sound | {"q": fused[:, 1:5], "k": fused[:, 6:8], "v": v, "out": None}
    check_attention(**apart)

    out = kernel(*apart.values())

    other_way = call() | {"v": torch.stack((v, v), 1)[:, 1], "out": None}
    check_attention(**other_way)
    wanted = reference.run(*call().values())
    torch.testing.assert_close(out, wanted, atol=3e-2, rtol=3e-2)
    assert torch.equal(kernel(*other_way.values()), out)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_one_head_of_a_transposed_tensor_lies_as_it_should(kernel):
    """[1, T, D] transposed has strides that say nothing: there is one head."""
    arguments = call()
    one = {name: arguments[name][:, :1].transpose(0, 1).contiguous().transpose(0, 1) for name in ("q", "k", "v")}
    caches = {name: torch.zeros(cache_shape(8, 1, 16, 16, torch.bfloat16), dtype=torch.bfloat16)
              for name in ("k_cache", "v_cache")}
    one = arguments | one | caches | {"out": None}
    check_attention(**one)

    wanted = reference.run(*(one | {name: x.clone() for name, x in caches.items()}).values())
    torch.testing.assert_close(kernel(*one.values()), wanted, atol=3e-2, rtol=3e-2)
