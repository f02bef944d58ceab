"""A public `Attention` gives the definition's rows for any view of q, k and v, and runs only in a step, once."""

from dataclasses import replace

import pytest
import torch
from public_layers import TOLERANCE, contexts, loaded, made, memory, numbers, prompt_step
from torch import nn

from weft.cache.masks import Bidirectional
from weft.errors import ConfigError, FieldError, NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.public import (
    Attention,
    AttentionType,
    ChunkedLocalAttention,
    CrossAttention,
    EncoderOnlyAttention,
    MMEncoderAttention,
)
from weft.layers.public.attention import share_caches
from weft.ops.attention import ranges
from weft.ops.attention.params import alibi_slopes

REFERENCE = LayerContext(torch.float32)
LENS = 5, 3
ROWS = sum(LENS)


def attention(heads=4, kv_heads=2, size=8, **options):
    return lambda: Attention(heads, size, 0.3, num_kv_heads=kv_heads, **options)


def definition(q, k, v, sinks=None):
    """[T, H * D] of two prompts: causal softmax, in float32."""
    out = []
    parts = [x.float().view(ROWS, -1, 8).split(LENS) for x in (q, k, v)]
    for mine, keys, values in zip(*parts, strict=True):
        times = mine.shape[1] // keys.shape[1]
        k, v = (x.repeat_interleave(times, dim=1) for x in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", mine, k) * 0.3
        scores = scores.masked_fill(torch.ones_like(scores[0]).triu(1).bool(), -torch.inf)
        if sinks is not None:
            scores = torch.cat([scores, sinks.float().view(-1, 1, 1).expand(-1, len(mine), 1)], dim=-1)
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1)[..., : len(mine)], v).flatten(1))
    return torch.cat(out)


def qkv(dtype):
    """[T, 32 + 16 + 16] in memory that holds NaN before, after and between the rows."""
    around = torch.full((2 * ROWS + 1, 70), torch.nan, dtype=dtype)
    around[1::2, 3:67] = numbers((ROWS, 64), dtype)
    return around[1::2, 3:67]


def heads_apart(x, heads):
    """As [T, heads, 8] whose heads lie 11 numbers apart, with NaN between."""
    around = torch.full((x.shape[0], heads, 11), torch.nan, dtype=x.dtype)
    around[..., 1:9] = x.unflatten(1, (heads, 8))
    return around[..., 1:9]


VIEWS = {
    "of one tensor": lambda q, k, v: (q, k, v),
    "of one tensor by heads": lambda q, k, v: (q.unflatten(1, (4, 8)), k.unflatten(1, (2, 8)), v.unflatten(1, (2, 8))),
    "q apart, v by heads": lambda q, k, v: (q.clone(), k, v.unflatten(1, (2, 8))),
    "heads apart": lambda q, k, v: (heads_apart(q, 4), heads_apart(k, 2), heads_apart(v, 2)),
    "heads first": lambda q, k, v: tuple(x.unflatten(1, (-1, 8)).transpose(0, 1).contiguous().transpose(0, 1)
                                         for x in (q, k, v)),
    "numbers first": lambda q, k, v: tuple(x.t().contiguous().t() for x in (q, k, v)),
}


@contexts
@pytest.mark.parametrize("view", VIEWS)
def test_any_views_of_q_k_and_v(context, view):
    whole = qkv(context.dtype)
    before = whole.clone()
    q, k, v = whole.split([32, 16, 16], dim=1)

    out = loaded(attention(), context, prompt_step(*LENS))(*VIEWS[view](q, k, v))

    torch.testing.assert_close(out.reshape(ROWS, 32).float(), definition(*before.split([32, 16, 16], dim=1)), rtol=0,
                               atol=TOLERANCE[context.dtype])
    assert torch.equal(whole, before) and memory(out) != memory(whole)


@contexts
def test_one_tensor_as_query_key_and_value_and_expanded_values(context):
    x = numbers((ROWS, 32), context.dtype)
    row = x[:1].expand(ROWS, -1)

    same = loaded(attention(kv_heads=4), context, prompt_step(*LENS))(x, x, x)
    constant = loaded(attention(kv_heads=4), context, prompt_step(*LENS))(x, row, row)

    torch.testing.assert_close(same.float(), definition(x, x, x), rtol=0, atol=TOLERANCE[context.dtype])
    torch.testing.assert_close(constant, row.contiguous(), rtol=0, atol=TOLERANCE[context.dtype])
    assert memory(same) != memory(x) and memory(constant) != memory(x)


@contexts
def test_two_layers_of_a_step_keep_their_results_apart(context):
    step = prompt_step(*LENS)
    first, second = (loaded(attention(), context, step) for _ in range(2))
    q, k, v = qkv(context.dtype).split([32, 16, 16], dim=1)

    out = first(q, k, v)
    kept = out.clone()
    other = second(out, k, v)

    assert torch.equal(out, kept) and memory(out) != memory(other)
    torch.testing.assert_close(other.float(), definition(kept, k, v), rtol=0, atol=TOLERANCE[context.dtype])


@contexts
def test_the_result_has_querys_shape_or_the_one_asked_for(context):
    q, k, v = qkv(context.dtype).split([32, 16, 16], dim=1)
    by_heads = q.unflatten(1, (4, 8))

    assert loaded(attention(), context, prompt_step(*LENS))(by_heads, k, v).shape == (ROWS, 4, 8)
    assert loaded(attention(), context, prompt_step(*LENS))(by_heads, k, v, torch.Size((ROWS, 32))).shape == (ROWS, 32)


@contexts
def test_sinks_of_another_module_are_read_when_that_is_loaded(context):
    class WithSinks(nn.Module):
        def __init__(self):
            super().__init__()
            self.sinks = nn.Parameter(torch.full((4,), torch.nan), requires_grad=False)
            self.sinks.weight_loader = lambda parameter, tensor: parameter.copy_(tensor)
            self.attn = Attention(4, 8, 0.3, num_kv_heads=2, sinks=self.sinks)

    model = loaded(WithSinks, context, prompt_step(*LENS))
    q, k, v = qkv(context.dtype).split([32, 16, 16], dim=1)

    assert [name for name, _ in model.named_parameters()] == ["sinks"]
    torch.testing.assert_close(model.attn(q, k, v).float(), definition(q, k, v, model.sinks), rtol=0,
                               atol=TOLERANCE[context.dtype])


ZEROS = {"q": torch.zeros(ROWS, 32), "k": torch.zeros(ROWS, 16), "v": torch.zeros(ROWS, 16)}


@contexts
@pytest.mark.parametrize(("wrong", "text"), [
    ({"q": torch.zeros(ROWS - 1, 32)}, r"query is \[7, 32\], expected \[8, 32\] or \[8, 4, 8\]: the step's 8 tokens"),
    ({"q": torch.zeros(ROWS + 1, 32)}, r"query is \[9, 32\]"),
    ({"q": torch.zeros(ROWS, 8, 4)}, r"query is \[8, 8, 4\]"),
    ({"q": torch.zeros(ROWS * 32)}, r"query is \[256\]"),
    ({"q": torch.zeros(1, ROWS, 32)}, r"query is \[1, 8, 32\]"),
    ({"k": torch.zeros(ROWS, 32)}, r"key is \[8, 32\], expected \[8, 16\]"),
    ({"v": torch.zeros(1, 16)}, r"value is \[1, 16\]"),
    ({"k": torch.zeros(ROWS, 16).double()}, "key is torch.float64 on cpu"),
    ({"v": torch.zeros(ROWS, 16, dtype=torch.int32)}, "value is torch.int32 on cpu"),
    ({"q": torch.zeros(ROWS, 32, device="meta")}, "on meta"),
    ({"k": None}, "key is NoneType"),
])
def test_what_does_not_fit_the_step_is_refused_by_name_and_nothing_is_written(context, wrong, text):
    layer = loaded(attention(), context, prompt_step(*LENS))
    given = {name: x.to(context.dtype) for name, x in ZEROS.items()} | {
        name: x.to(context.dtype) if x is not None and x.dtype == torch.float32 and not x.is_meta else x
        for name, x in wrong.items()}

    with pytest.raises(ValueError, match=text):
        layer(*given.values())
    assert layer.paged.k_cache.isnan().all()


def test_outside_a_step_and_twice_in_one_it_says_so():
    layer, _ = made(attention(prefix="layers.0.attn"), REFERENCE)
    layer.finish_loading()
    with pytest.raises(RuntimeError, match="Attention was called outside a step"):
        layer(*ZEROS.values())

    layer = loaded(attention(prefix="layers.0.attn"), REFERENCE, prompt_step(*LENS))
    layer(*ZEROS.values())
    with pytest.raises(RuntimeError, match=r"Attention layers\.0\.attn was called twice in a step"):
        layer(*ZEROS.values())


@pytest.mark.parametrize(("make", "error", "text"), [
    (attention(kv_heads=3), ConfigError, "num_kv_heads = 3: expected a divisor of 4 heads"),
    (attention(heads=0), ConfigError, "Attention.num_heads = 0"),
    (attention(size=-8), ConfigError, "Attention.head_size = -8"),
    (attention(per_layer_sliding_window=0), ConfigError, "per_layer_sliding_window = 0"),
    (attention(sinks=torch.zeros(3)), ConfigError, r"Attention.sinks = \[3\]: expected \[4\]"),
    (attention(alibi_slopes=torch.zeros(3)), ConfigError, r"Attention.alibi_slopes = \[3\]: expected \[4\]"),
    (attention(use_alibi_sqrt=True), ConfigError, "use_alibi_sqrt = True"),
    (attention(attn_type="decoders"), ConfigError, "expected decoder, encoder, encoder_only, encoder_decoder"),
    (attention(colour=True), ConfigError, "Attention.colour = True: expected a keyword that weft's layer knows"),
])
def test_options_that_do_not_fit_are_refused_in_the_constructor(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_paged_attention_itself_refuses_what_its_kernel_would_misread():
    paged, step = loaded(attention(), REFERENCE, prompt_step(*LENS)).paged, prompt_step(*LENS)
    q, k, v = (torch.zeros(ROWS, heads, 8) for heads in (4, 2, 2))
    heads_first, with_gaps = torch.zeros(4, ROWS, 8).transpose(0, 1), torch.zeros(ROWS, 4, 16)[..., :8]

    for given, text in (((q[1:], k, v), "q.shape"), ((heads_first, k, v), r"q.stride\(\)"),
                        ((q, k[:, :1], v), "k.shape"), ((q, k, v.half()), "v.dtype"),
                        ((q, k, v, with_gaps), r"out.stride\(\)")):
        with pytest.raises(FieldError, match=text):
            paged(*given[:3], step, *given[3:])
    assert paged.k_cache.isnan().all()


# Kinds of attention

def masked(q, k, v, allowed, bias=0.0):
    """[L, H * D] of one sequence. allowed: [L, L] which keys a query sees; bias: on the scores, [H, L, L]."""
    q, k, v = (x.float().view(len(x), -1, 8) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * 0.3 + bias
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~allowed, -torch.inf).softmax(-1), v).flatten(1)


def close(found, wanted, context):
    tolerance = TOLERANCE[context.dtype]
    torch.testing.assert_close(found.float(), wanted, rtol=tolerance, atol=tolerance)


@contexts
def test_alibi_slopes_of_the_heads(context):
    q, k, v = qkv(context.dtype)[:5].split([32, 16, 16], dim=-1)
    slopes = alibi_slopes(4)
    layer = loaded(attention(alibi_slopes=slopes.tolist()), context, prompt_step(5))
    distance = torch.arange(5).view(1, -1) - torch.arange(5).view(-1, 1)

    close(layer(q, k, v), masked(q, k, v, distance <= 0, slopes.view(-1, 1, 1) * distance), context)


@contexts
@pytest.mark.parametrize("make, kind", [
    (lambda: EncoderOnlyAttention(4, 8, 0.3, num_kv_heads=2), AttentionType.ENCODER_ONLY),
    (attention(attn_type="encoder"), AttentionType.ENCODER)], ids=["encoder only", "encoder"])
def test_an_encoders_tokens_see_all_of_their_sequence(context, make, kind):
    layer = loaded(make, context)
    step = prompt_step(*LENS)
    plan = replace(step.caches[0], ranges=ranges.bidirectional(LENS, LENS))
    layer._step.begin(replace(step, caches=(plan,)))
    parts = qkv(context.dtype).split([32, 16, 16], dim=-1)

    wanted = torch.cat([masked(*one, torch.ones(len(one[0]), len(one[0]), dtype=torch.bool))
                        for one in zip(*(x.split(LENS) for x in parts), strict=True)])
    close(layer(*parts), wanted, context)
    assert (layer.attn_type, layer.paged.need.mask) == (kind, Bidirectional())


def test_the_cache_group_of_chunked_attention_has_its_chunks():
    layer = loaded(lambda: ChunkedLocalAttention(4, 8, 0.3, 3, num_kv_heads=2), REFERENCE)

    assert layer.paged.need.mask.size == 3


@pytest.mark.parametrize("make", [lambda: CrossAttention(4, 8, 0.3), attention(attn_type="encoder_decoder")])
def test_attention_over_an_encoders_tokens_needs_a_model_that_takes_them(make):
    with pytest.raises(NotBuiltError, match="attn_type = 'encoder_decoder': expected a model whose forward takes"):
        made(make, REFERENCE)


def test_attention_of_an_image_encoder_keeps_its_inputs_apart():
    q, k, v = (numbers((1, ROWS, width), torch.float32, seed=i) for i, width in enumerate((32, 16, 16)))

    out = MMEncoderAttention(4, 8, 0.3, num_kv_heads=2)(q, k, v, cu_seqlens=torch.tensor([0, 5, 8]))

    parts = zip(*(x[0].split(LENS) for x in (q, k, v)), strict=True)
    wanted = torch.cat([masked(*one, torch.ones(len(one[0]), len(one[0]), dtype=torch.bool)) for one in parts])
    torch.testing.assert_close(out[0], wanted)


@contexts
def test_a_layer_may_read_the_keys_and_values_of_an_earlier_one(context):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Attention(4, 8, 0.3, num_kv_heads=2, prefix="layers.0.attn")
            self.second = Attention(4, 8, 0.3, num_kv_heads=2, prefix="layers.1.attn",
                                    kv_sharing_target_layer_name="layers.0.attn")

    model = loaded(Two, context, prompt_step(*LENS))
    first, second = share_caches(model)
    second.bind_cache((first.k_cache, first.v_cache), 0)
    q, k, v = qkv(context.dtype).split([32, 16, 16], dim=-1)

    out = model.first(q, k, v)

    assert (second.need.source, second.need.bytes_per_token) == (0, 0)
    close(model.second(q, None, None), definition(q, k, v), context)
    assert torch.equal(model.second._step.current(model).positions, prompt_step(*LENS).positions)
    close(out, definition(q, k, v), context)


def test_a_layer_that_reads_of_no_earlier_one_is_refused():
    class Two(nn.Module):
        def __init__(self, second):
            super().__init__()
            self.first = Attention(4, 8, 0.3, prefix="layers.0.attn", kv_sharing_target_layer_name="layers.1.attn")
            self.second = Attention(4, 8, 0.3, prefix=second)

    with pytest.raises(ConfigError, match=r"kv_sharing_target_layer_name = 'layers\.1\.attn'"):
        share_caches(made(lambda: Two("layers.1.attn"), REFERENCE)[0])
    with pytest.raises(ConfigError, match=r"Attention.prefix = 'layers\.0\.attn'"):
        share_caches(made(lambda: Two("layers.0.attn"), REFERENCE)[0])
