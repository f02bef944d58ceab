"""What is done to q and k before attention: the native kernel does what the definition does."""

from dataclasses import replace

import pytest
import torch
from isa_levels import native_levels

from weft.ops.norm import NormOptions
from weft.ops.qk import QKCase, choose_qk
from weft.ops.qk.reference import ReferenceQK

# One rounding against up to four of the definition's, of values up to 4.
TOLERANCE = {torch.float32: 5e-6, torch.bfloat16: 6e-2, torch.float16: 8e-3}
RMS, LAYER = NormOptions(centred=False, eps=1e-6), NormOptions(centred=True, eps=1e-5)
KINDS = {
    "nothing": {},
    "halves": {"half": 10},
    "interleaved": {"half": 10, "interleaved": True},
    "part-of-the-head": {"half": 3},
    "clip": {"clip": 0.5, "half": 10},
    "norm-of-heads": {"norm": RMS, "half": 10},
    "norm-with-offset": {"norm": replace(RMS, offset=1.0), "half": 10},
    "norm-rounded-first": {"norm": replace(RMS, cast_before_weight=True), "half": 10},
    "a-weight-for-each-head": {"norm": LAYER, "scope": "each_head", "half": 10},
    "norm-over-all-heads": {"norm": RMS, "scope": "all", "half": 10},
    "layer-norm-with-bias": {"norm": LAYER, "half": 4},
}
levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def case_and_weights(kind, dtype, isa="reference"):
    case = QKCase(device="cpu", dtype=dtype, num_heads=6, num_kv_heads=2, head_dim=20, isa=isa, **KINDS[kind])
    if case.norm is None:
        return case, ()
    shapes = {"head": ((20,), (20,)), "each_head": ((6, 20), (2, 20)), "all": ((120,), (40,))}[case.scope]
    weights = [random(*shape, seed=i + 1).to(dtype) for i, shape in enumerate(shapes)]
    biases = [random(*shape, seed=i + 3).to(dtype) if "bias" in kind else None for i, shape in enumerate(shapes)]
    return case, (*weights, *biases)


def native(kind, dtype, isa):
    case, weights = case_and_weights(kind, dtype, isa)
    choice = choose_qk(case)
    assert choice.name == "native"
    return choice.prepare(*weights)


def angles(case_half, num_tokens):
    angle = random(num_tokens, case_half, seed=8) * 3
    return angle.cos(), angle.sin()


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
def test_the_native_kernel_is_the_definition(isa, dtype, kind):
    case, weights = case_and_weights(kind, dtype)
    qkv, turn = random(7, 10, 20).to(dtype), angles(case.half, 7)
    expected, out = qkv.clone(), qkv.clone()

    ReferenceQK(case, *weights)(expected, turn)
    native(kind, dtype, isa)(out, turn)

    torch.testing.assert_close(out, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    if case.clip is None:
        assert torch.equal(out[:, 8:], qkv[:, 8:])                        # v stays as it is


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_bitwise_the_same_alone(isa, dtype, kind):
    prepare = native(kind, dtype, isa)
    qkv, (cos, sin) = random(9, 10, 20).to(dtype), angles(KINDS[kind].get("half", 0), 9)
    together = qkv.clone()
    prepare(together, (cos, sin))

    for i in range(9):
        alone = qkv[i : i + 1].clone()
        prepare(alone, (cos[i : i + 1].clone(), sin[i : i + 1].clone()))
        assert torch.equal(alone, together[i : i + 1])


@levels
def test_memory_that_is_not_contiguous_is_an_error(isa):
    with pytest.raises(ValueError, match="expected contiguous"):
        native("halves", torch.float32, isa)(random(10, 7, 20).transpose(0, 1), angles(10, 7))
