"""Public layers give right results for any view of any memory, on memory of their own, or one clear error."""

import pytest
import torch
import torch.nn.functional as F
from public_layers import TOLERANCE, contexts, loaded, made, memory, numbers, prompt_step
from torch import nn

from weft.layers.context import LayerContext
from weft.layers.public import (
    Attention,
    ColumnParallelLinear,
    GeluAndMul,
    GemmaRMSNorm,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    QKVParallelLinear,
    ReplicatedLinear,
    RMSNorm,
    RotaryEmbedding,
    RowParallelLinear,
    SiluAndMul,
    VocabParallelEmbedding,
    get_rope,
)

ROWS, WIDTH = 6, 24
REFERENCE = LayerContext(torch.float32)


class Logits(nn.Module):
    """A head as a model calls it."""

    def __init__(self, **options):
        super().__init__()
        self.lm_head, self.processor = ParallelLMHead(40, WIDTH, bias=True), LogitsProcessor(40, **options)

    def forward(self, x):
        return self.processor(self.lm_head, x)


def rms(x, eps=1e-6):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def linear(layer, x):
    return F.linear(x, layer.weight.float(), None if layer.bias is None else layer.bias.float())


def gate(act):
    return lambda layer, x: act(x[..., : WIDTH // 2]) * x[..., WIDTH // 2 :]


# name: (constructor, its definition in float32: (layer, x [..., WIDTH]) -> the result)
LAYERS = {
    "ReplicatedLinear": (lambda: ReplicatedLinear(WIDTH, 10, return_bias=False), linear),
    "ColumnParallelLinear": (lambda: ColumnParallelLinear(WIDTH, 70, bias=False, return_bias=False), linear),
    "RowParallelLinear": (lambda: RowParallelLinear(WIDTH, 64, return_bias=False), linear),
    "MergedColumnParallelLinear": (lambda: MergedColumnParallelLinear(WIDTH, [8, 24, 1], return_bias=False), linear),
    "QKVParallelLinear": (lambda: QKVParallelLinear(WIDTH, 8, 4, 2, return_bias=False), linear),
    "RMSNorm": (lambda: RMSNorm(WIDTH), lambda layer, x: rms(x) * layer.weight.float()),
    "RMSNorm without weight": (lambda: RMSNorm(WIDTH, has_weight=False), lambda layer, x: rms(x)),
    "GemmaRMSNorm": (lambda: GemmaRMSNorm(WIDTH), lambda layer, x: rms(x) * (1 + layer.weight.float())),
    "SiluAndMul": (SiluAndMul, gate(F.silu)),
    "GeluAndMul": (GeluAndMul, gate(F.gelu)),
    "GeluAndMul tanh": (lambda: GeluAndMul("tanh"), gate(lambda x: F.gelu(x, approximate="tanh"))),
    "LogitsProcessor": (Logits, lambda layer, x: linear(layer.lm_head, x)),
    "LogitsProcessor capped": (lambda: Logits(soft_cap=2.0, scale=0.5),
                               lambda layer, x: torch.tanh(linear(layer.lm_head, x) / 2) * 2 * 0.5),
}
layers = pytest.mark.parametrize("name", LAYERS)


def in_nan(x):
    """x as every second row and inner columns of memory that holds NaN elsewhere."""
    around = torch.full((*x.shape[:-2], 2 * x.shape[-2] + 1, x.shape[-1] + 5), torch.nan, dtype=x.dtype)
    view = around[..., 1::2, 3 : 3 + x.shape[-1]]
    view.copy_(x)
    return view


def every_second_column(x):
    around = torch.full((*x.shape[:-1], 2 * x.shape[-1]), torch.nan, dtype=x.dtype)
    around[..., ::2] = x
    return around[..., ::2]


# name: (rows, width, dtype) -> a view
VIEWS = {
    "contiguous": lambda x: x,
    "rows and columns within NaN": in_nan,
    "every second column": every_second_column,
    "transposed": lambda x: x.t().contiguous().t(),
    "one row, expanded": lambda x: x[:1].expand(x.shape[0], -1),
    "one number, expanded": lambda x: x[:1, :1].expand(x.shape),
    "overlapping rows": lambda x: x.flatten().unfold(0, x.shape[1], 1)[: x.shape[0]],
    "from an odd address": lambda x: torch.cat([x.new_full((1,), torch.nan), x.flatten()])[1:].view(x.shape),
    "three dimensions, permuted": lambda x: x.view(2, -1, x.shape[1]).transpose(0, 1),
    "three dimensions within NaN": lambda x: in_nan(x.view(2, -1, x.shape[1])),
    "one dimension": lambda x: x[1],
    "no rows": lambda x: x[:0],
    "no rows of three dimensions": lambda x: x.view(2, -1, x.shape[1])[:, :0],
}


@contexts
@layers
@pytest.mark.parametrize("view", VIEWS)
def test_any_view_gives_the_definition_and_on_native_kernels_the_bits_of_a_copy(context, name, view):
    make, definition = LAYERS[name]
    layer = loaded(make, context)
    x = VIEWS[view](numbers((ROWS, WIDTH), context.dtype, seed=5))
    before = x.clone()

    out = layer(x)

    assert context.isa == "reference" or torch.equal(out, layer(before.contiguous()))   # torch's sums vary by layout
    torch.testing.assert_close(out.float(), definition(layer, before.float()).to(out.dtype).float(),
                               rtol=TOLERANCE[context.dtype], atol=TOLERANCE[context.dtype])
    assert torch.equal(x, before)


@contexts
@layers
def test_two_results_of_a_layer_are_both_kept_and_lie_in_memory_of_their_own(context, name):
    layer = loaded(LAYERS[name][0], context)
    x, y = (numbers((ROWS, WIDTH), context.dtype, seed=seed) for seed in (1, 2))

    first = layer(x)
    kept = first.clone()
    second = layer(y)

    assert torch.equal(first, kept) and not torch.equal(first, second)
    assert len({memory(t) for t in (x, y, first, second)}) == 4
    assert memory(first) not in {memory(t) for t in context.scratch._buffers.values()}


@contexts
def test_layers_of_equal_sizes_do_not_share_results(context):
    q, k = (loaded(lambda: ReplicatedLinear(WIDTH, WIDTH, bias=False, return_bias=False), context) for _ in range(2))
    x = numbers((ROWS, WIDTH), context.dtype)

    first = q(x)
    kept = first.clone()
    second = k(first)

    assert torch.equal(first, kept)
    assert torch.equal(second, k(kept)) and memory(second) != memory(first)


@contexts
@pytest.mark.parametrize("make", [lambda: RMSNorm(WIDTH), lambda: GemmaRMSNorm(WIDTH)])
def test_a_norm_adds_its_residual_without_changing_it_also_when_both_are_one_tensor(context, make):
    norm = loaded(make, context)
    x, residual = (in_nan(numbers((ROWS, WIDTH), context.dtype, seed=seed)) for seed in (1, 2))
    before = x.clone(), residual.clone()

    out, total = norm(x, residual)
    again, doubled = norm(x, x)

    assert torch.equal(total, before[0] + before[1]) and torch.equal(out, norm(total))
    assert torch.equal(doubled, before[0] + before[0]) and torch.equal(again, norm(doubled))
    assert torch.equal(x, before[0]) and torch.equal(residual, before[1])
    assert len({memory(t) for t in (x, residual, out, total, again, doubled)}) == 6


@contexts
@layers
@pytest.mark.parametrize("wrong", ["dtype", "device", "width", "none", "scalar"])
def test_another_dtype_device_or_width_is_one_error(context, name, wrong):
    layer = loaded(LAYERS[name][0], context)
    x = numbers((ROWS, WIDTH), context.dtype)
    x = {"dtype": x.double(), "device": x.to("meta"), "width": x[:, 1:], "none": None, "scalar": x[0, 0]}[wrong]

    with pytest.raises(ValueError, match=r"expected \[\.\.\., |expected torch\.\w+ on cpu, the model's|even number"):
        layer(x)


def test_a_residual_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"residual is \[1, 24\], expected \[6, 24\]"):
        loaded(lambda: RMSNorm(WIDTH), REFERENCE)(torch.zeros(ROWS, WIDTH), torch.zeros(1, WIDTH))


# Ids

IDS = torch.tensor([[3, 39, 0], [3, 7, 7]])


@contexts
@pytest.mark.parametrize("ids", [
    IDS, IDS.t(), IDS[:, ::2], IDS.int(), IDS.to(torch.uint8), IDS[:, :1].expand(2, 5), IDS[0, 1], IDS[:0],
], ids=["contiguous", "transposed", "strided", "int32", "uint8", "expanded", "one", "none"])
def test_ids_of_any_shape_and_integer_type_give_their_rows(context, ids):
    table = loaded(lambda: VocabParallelEmbedding(40, WIDTH), context)
    rows = numbers((40, WIDTH), context.dtype)                # what `loaded` gave the table

    out = table(ids)

    assert torch.equal(out, rows[ids.long()])
    assert memory(out) not in (memory(table(ids)), memory(table.weight.detach())) or not out.numel()


@contexts
@pytest.mark.parametrize(("ids", "error", "text"), [
    (torch.tensor([0, 40]), IndexError, "from 0 to 39, there are 0 to 40"),
    (torch.tensor([-1, 2]), IndexError, "from 0 to 39, there are -1 to 2"),
    (torch.tensor([1 << 62]), IndexError, "there are"),
    (torch.tensor([1.0]), TypeError, "float32, expected integers"),
    (torch.tensor([True]), TypeError, "bool, expected integers"),
    (torch.tensor([1], device="meta"), ValueError, "on meta, expected cpu"),
])
def test_ids_that_name_no_row_are_refused(context, ids, error, text):
    with pytest.raises(error, match=text):
        loaded(lambda: VocabParallelEmbedding(40, WIDTH), context)(ids)


def test_a_module_of_another_kind_is_no_head():
    with pytest.raises(TypeError, match="lm_head is Linear, expected a ParallelLMHead"):
        loaded(lambda: LogitsProcessor(40), REFERENCE)(nn.Linear(WIDTH, 40), torch.zeros(ROWS, WIDTH))


@contexts
def test_logits_are_cut_to_the_vocabulary_and_take_a_bias(context):
    head = loaded(lambda: ParallelLMHead(40, WIDTH), context)
    x, bias = numbers((ROWS, WIDTH), context.dtype), numbers((40,), context.dtype, seed=9)

    cut = loaded(lambda: LogitsProcessor(40, org_vocab_size=33), context)(head, x)
    biased = loaded(lambda: LogitsProcessor(40), context)(head, x, bias)

    assert torch.equal(cut, head.logits(x)[:, :33])
    assert torch.equal(biased, head.logits(x) + bias.float())


# Rotary positions

def rotated(x, positions, size, theta=10000.0):
    """The definition: pairs (i, i + size / 2) of each head turn by position / theta ** (2i / size)."""
    angles = torch.outer(positions.double(), theta ** (-torch.arange(0, size, 2).double() / size)).unsqueeze(1)
    first, second = x.double().reshape(len(x), x.shape[1] // size, size).chunk(2, dim=-1)
    out = torch.cat([first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], -1)
    return out.reshape(x.shape).float()


@contexts
@pytest.mark.parametrize("view", ["contiguous", "rows and columns within NaN", "every second column", "transposed",
                                  "one row, expanded", "no rows"])
def test_rotation_of_any_view(context, view):
    rope = loaded(lambda: get_rope(8), context)
    q = VIEWS[view](numbers((ROWS, WIDTH), context.dtype))
    before, positions = q.clone(), torch.arange(2 * len(q))[::2]

    out, key = rope(positions, q, q.unflatten(-1, (3, 8)))

    torch.testing.assert_close(out.float(), rotated(before.float(), positions, 8), rtol=0,
                               atol=TOLERANCE[context.dtype])
    assert torch.equal(key.flatten(1), out) and key.shape == (len(q), 3, 8)
    assert torch.equal(q, before)
    assert not len(q) or len({memory(t) for t in (q, out, key)}) == 3


def test_q_and_k_may_be_views_of_one_tensor_and_no_key_gives_none():
    rope = loaded(lambda: get_rope(8), REFERENCE)
    qkv, positions = numbers((ROWS, 48), torch.float32), torch.arange(ROWS)
    before = qkv.clone()

    q, k = rope(positions, qkv[:, :32], qkv[:, 32:40])

    assert torch.equal(q, rope(positions, before[:, :32].clone())[0])
    assert torch.equal(k, rope(positions, before[:, 32:40].clone())[0])
    assert rope(positions, q)[1] is None
    assert torch.equal(qkv, before)


def test_positions_that_are_changed_in_place_count_in_the_same_step():
    rope = loaded(lambda: get_rope(8), REFERENCE, prompt_step(ROWS))
    q, positions = numbers((ROWS, 8), torch.float32), torch.arange(ROWS)
    rope(positions, q)

    positions += 3

    torch.testing.assert_close(rope(positions, q)[0], rotated(q, positions, 8), rtol=0, atol=2e-5)


@pytest.mark.parametrize(("positions", "q", "text"), [
    (torch.arange(5), torch.zeros(6, 8), r"positions are \[5\] on cpu, expected \[6\]"),
    (torch.zeros(3, 6, dtype=torch.int64), torch.zeros(6, 8), r"positions are \[3, 6\]"),
    (torch.arange(6, device="meta"), torch.zeros(6, 8), "on meta, expected"),
    (torch.arange(6), torch.zeros(6, 12), r"query is \[6, 12\], expected \[T, H \* 8\]"),
    (torch.arange(6), torch.zeros(6, 8, 2), r"query is \[6, 8, 2\], expected"),
    (torch.arange(6), torch.zeros(8), r"query is \[8\], expected"),
    (torch.arange(6), torch.zeros(6, 8).half(), "float16 on cpu, expected torch.float32"),
    (torch.arange(6), torch.zeros(6, 8, device="meta"), "on meta, expected torch.float32 on cpu"),
])
def test_rotation_refuses_what_does_not_fit(positions, q, text):
    with pytest.raises(ValueError, match=text):
        loaded(lambda: get_rope(8), REFERENCE)(positions, q)


def test_a_key_with_fewer_rows_is_refused():
    with pytest.raises(ValueError, match="one for each row of key"):
        loaded(lambda: get_rope(8), REFERENCE)(torch.arange(6), torch.zeros(6, 8), torch.zeros(1, 8))


# Called too early

@layers
def test_a_layer_that_is_not_bound_or_not_loaded_says_so(name):
    make = LAYERS[name][0]
    with pytest.raises(RuntimeError, match="is not bound to an engine"):
        make()(torch.zeros(ROWS, WIDTH))
    with pytest.raises(RuntimeError, match="was called before its weights were loaded"):
        made(make, REFERENCE)[0](torch.zeros(ROWS, WIDTH))


@pytest.mark.parametrize(("make", "args"), [
    (lambda: VocabParallelEmbedding(4, 8), (torch.tensor([1]),)),
    (lambda: get_rope(8), (torch.arange(2), torch.zeros(2, 8))),
    (lambda: Attention(1, 8, 1.0), (torch.zeros(2, 8),) * 3),
])
def test_so_do_those_with_other_arguments(make, args):
    with pytest.raises(RuntimeError, match="is not bound to an engine"):
        make()(*args)
    with pytest.raises(RuntimeError, match="before its weights were loaded"):
        made(make, REFERENCE)[0](*args)


def test_a_head_is_not_called_and_rope_is_a_layer():
    with pytest.raises(RuntimeError, match="LogitsProcessor"):
        loaded(lambda: ParallelLMHead(40, WIDTH), REFERENCE)(torch.tensor([1]))
    assert isinstance(get_rope(8), RotaryEmbedding)
