"""Rotation of q and k that lie apart: the native kernel does what the definition does, wherever they lie."""

import pytest
import torch
from isa_levels import native_levels

from weft.ops.rope import RopeCase, choose_rope

# One rounding against the definition's four, of values up to 4.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 6e-2, torch.float16: 8e-3}
HEADS, KV_HEADS, SIZE = 6, 2, 20
KINDS = {"halves": {"half": 10}, "interleaved": {"half": 10, "interleaved": True}, "part-of-the-head": {"half": 3},
         "part-interleaved": {"half": 7, "interleaved": True}}
levels = pytest.mark.parametrize("isa", native_levels())
floats = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda d: str(d).removeprefix("torch."))


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def angles(half, num_tokens):
    angle = random(num_tokens, half, seed=8) * 3
    return angle.cos(), angle.sin()


def rope(isa, dtype, **kind):
    return choose_rope(RopeCase(device="cpu", dtype=dtype, head_dim=SIZE, isa=isa, **kind))


def native(isa, dtype, **kind):
    choice = rope(isa, dtype, **kind)
    assert choice.name == "native"
    return choice.run


def of_one_matrix(tokens, dtype):
    """q and k as a model splits them from its product, columns of [T, (H + 2 Hkv) * D]."""
    qkv = random(tokens, (HEADS + 2 * KV_HEADS) * SIZE).to(dtype)
    q, k, _ = qkv.split([HEADS * SIZE, KV_HEADS * SIZE, KV_HEADS * SIZE], dim=-1)
    return q.view(tokens, HEADS, SIZE), k.view(tokens, KV_HEADS, SIZE)


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [1, 7])
def test_the_native_kernel_is_the_definition_and_leaves_its_inputs(isa, dtype, kind, tokens):
    (q, k), turn = of_one_matrix(tokens, dtype), angles(KINDS[kind]["half"], tokens)
    before = q.clone(), k.clone()

    out = native(isa, dtype, **KINDS[kind])(q, k, turn)

    wanted = rope("reference", dtype, **KINDS[kind]).run(q, k, turn)
    for x, expected in zip(out, wanted, strict=True):
        assert x.is_contiguous()
        torch.testing.assert_close(x, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    rest = 2 * KINDS[kind]["half"]
    assert torch.equal(out[0][..., rest:], q[..., rest:]) and torch.equal(out[1][..., rest:], k[..., rest:])
    assert torch.equal(q, before[0]) and torch.equal(k, before[1])


@levels
@floats
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_bitwise_the_same_alone_and_wherever_it_lies(isa, dtype, kind):
    run, (q, k), (cos, sin) = native(isa, dtype, **KINDS[kind]), of_one_matrix(9, dtype), angles(
        KINDS[kind]["half"], 9)
    together = run(q, k, (cos, sin))

    for i in range(9):
        turn = cos[i : i + 1].clone(), sin[i : i + 1].clone()
        alone = run(q[i : i + 1].clone(), k[i : i + 1].transpose(1, 2).contiguous().transpose(1, 2), turn)
        assert all(torch.equal(x, whole[i : i + 1]) for x, whole in zip(alone, together, strict=True))


@levels
def test_q_alone_and_no_tokens(isa):
    run = native(isa, torch.float32, half=10)
    q, k = of_one_matrix(3, torch.float32)

    alone, none = run(q, None, angles(10, 3))

    assert none is None and torch.equal(alone, run(q, k, angles(10, 3))[0])
    assert run(q[:0], k[:0], angles(10, 0))[0].shape == (0, HEADS, SIZE)


@levels
@pytest.mark.parametrize(("q", "turn", "said"), [
    (torch.zeros(2, 6, 16), angles(10, 2), r"q is torch\.float32 \(2, 6, 16\), expected .* \[2, heads, 20\]"),
    (torch.zeros(2, 6, 20).half(), angles(10, 2), r"q is torch\.float16"),
    (torch.zeros(2, 6, 20), angles(10, 3), r"cos is torch\.float32 \(3, 10\)"),
    (torch.zeros(2, 6, 20), angles(9, 2), r"cos is .*expected contiguous float32 \(2, 10\)"),
    (torch.zeros(2, 6, 20), tuple(x.half() for x in angles(10, 2)), r"cos is torch\.float16"),
], ids=["head size", "dtype", "tokens", "pairs", "angles' dtype"])
def test_what_does_not_fit_is_an_error(isa, q, turn, said):
    with pytest.raises(ValueError, match=said):
        native(isa, torch.float32, half=10)(q, None, turn)
