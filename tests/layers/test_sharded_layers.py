"""Layers with a shard of the heads, columns or rows: what they make, put together, is what the whole layer makes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from weft.architectures.spec import (
    Alibi,
    AttentionSpec,
    Causal,
    EmbeddingSpec,
    HeadSpec,
    LayerNorm,
    LearnedPositions,
    Mamba2Spec,
    MambaSpec,
    MLASpec,
    MLPSpec,
    MoESpec,
    QKNorm,
    RMSNorm,
    Rope,
    SlidingWindow,
)
from weft.errors import ConfigError, NotBuiltError
from weft.layers.attention import SelfAttention
from weft.layers.context import LayerContext
from weft.layers.embedding import Embedding, Head
from weft.layers.layer import Layer, allocate
from weft.layers.linear import Linear
from weft.layers.mamba import Mamba, Mamba2
from weft.layers.mla import MLA
from weft.layers.mlp import MLP, MoE
from weft.layers.rope import RotaryPositions
from weft.layers.shard import Shard
from weft.ops.attention import attention_plan
from weft.ops.scan_plan import ScanPlan
from weft.ops.step import RowEmbeds, Step

HIDDEN, TOKENS = 64, 20
ROPE = Rope(theta=1e4, rotary_dim=16)
RMS = RMSNorm(eps=1e-6)
ATTENTION = AttentionSpec(num_heads=8, num_kv_heads=4, head_dim=16, scale=0.25, positions=ROPE, mask=Causal())
EXPERT = MLPSpec(intermediate_size=32, act="silu", gated=True)
MOE = MoESpec(num_experts=4, num_experts_per_token=2, expert=EXPERT)
MLA_SPEC = MLASpec(num_heads=4, q_rank=24, kv_rank=32, nope_dim=16, value_dim=12, scale=0.2,
                   positions=replace(ROPE, rotary_dim=8), norm=RMS, bias=True)
MAMBA2 = Mamba2Spec(num_heads=8, head_dim=16, num_groups=4, state_size=12, conv_size=4, norm_eps=1e-5, bias=True)
MIXERS = {
    "grouped queries": ATTENTION,
    "one key head": replace(ATTENTION, num_kv_heads=1),
    "biases": replace(ATTENTION, qkv_bias=True, out_bias=True),
    "a norm for all heads alike": replace(ATTENTION, qk_norm=QKNorm(norm=RMS)),
    "a norm for each head": replace(ATTENTION, num_kv_heads=8, qk_norm=QKNorm(norm=RMS, scope="each_head")),
    "slopes by head": replace(ATTENTION, positions=Alibi()),
    "window": replace(ATTENTION, mask=SlidingWindow(window=7), softcap=20.0),
    "latent": MLA_SPEC,
    "latent, q of its own": replace(MLA_SPEC, q_rank=None, bias=False),
}
FFNS = {
    "gated": EXPERT, "plain, biases": MLPSpec(intermediate_size=32, act="gelu", gated=False, bias=True),
    "experts": replace(MOE, choice_bias=True, scores="sigmoid"),
    "experts and a shared one": replace(MOE, shared=EXPERT, scale=0.5),
    "a gate for the shared one": replace(MOE, shared=EXPERT, shared_gate=True),
}


def context(index=None, count=2):
    return LayerContext(torch.float32, shard=None if index is None else Shard(index, count))


def filled(layer):
    """The whole layer with random weights, and what its homes got."""
    allocate(layer, "cpu")
    random, weights = torch.Generator().manual_seed(1), {}
    for name, home in layer.homes().items():
        centre = 1 if "norm" in name and name.endswith("weight") else 0
        home.view.normal_(mean=centre, std=0.2, generator=random)
        weights[name] = home.view.clone()
    return finished(layer), weights


def loaded(layer, weights):
    """A shard's layer with its part of them."""
    allocate(layer, "cpu")
    homes = layer.homes()
    assert homes.keys() == weights.keys()
    for name, home in homes.items():
        home.fill(weights[name])
    return finished(layer)


def finished(layer):
    for module in layer.modules():
        if isinstance(module, Layer):
            module.finish_loading()
    return layer


def whole_and_shards(make, count):
    """The layer of each context: of no shard, and of each of `count`, with the same weights."""
    whole, weights = filled(make(context()))
    return whole, [loaded(make(context(index, count)), weights) for index in range(count)]


def inputs():
    return torch.randn(TOKENS, HIDDEN, generator=torch.Generator().manual_seed(2))


def attended(layer, spec, x):
    """A prompt of TOKENS, run through a mixer with caches of NaN."""
    shapes = layer.paged.cache_shapes(4)
    layer.paged.bind_cache(tuple(torch.full(shape, torch.nan) for shape in shapes), 0)
    table, positions = np.arange(2).reshape(1, 2), torch.arange(TOKENS)
    plan = attention_plan(query_lens=[TOKENS], seq_lens=[TOKENS], num_decodes=0, slots=np.arange(TOKENS), table=table,
                          window=spec.window, block_size=16)
    step = Step(input_ids=positions, positions=positions, query_lens=(TOKENS,), caches=(plan,))
    rope = layer.rope
    angles = None if rope is None else RotaryPositions(rope, max_model_len=64).angles(positions, torch.float32)
    return layer(x, step, angles).clone()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", MIXERS)
@torch.inference_mode()
def test_attention_of_the_shards_heads_adds_up(name, count):
    spec = MIXERS[name]
    make = MLA if isinstance(spec, MLASpec) else SelfAttention
    whole, shards = whole_and_shards(lambda context: make(spec, HIDDEN, context=context), count)
    x = inputs()

    parts = [attended(shard, spec, x) for shard in shards]

    assert [shard.paged.num_heads for shard in shards] == [spec.num_heads // count] * count
    torch.testing.assert_close(sum(parts), attended(whole, spec, x))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", FFNS)
@torch.inference_mode()
def test_feed_forward_parts_of_the_shards_columns_add_up(name, count):
    spec = FFNS[name]
    make = MoE if isinstance(spec, MoESpec) else MLP
    whole, shards = whole_and_shards(lambda context: make(spec, HIDDEN, context=context), count)
    x = inputs()

    parts = [shard(x).clone() for shard in shards]

    torch.testing.assert_close(sum(parts), whole(x))


def scanned(layer, x):
    """A sequence of TOKENS, run through a mixer with states of NaN."""
    layer.bind_cache(tuple(torch.full(shape, torch.nan, dtype=dtype) for shape, dtype in
                           zip(layer.cache_shapes(2), layer.cache_dtypes, strict=True)), 0)
    plan, ids = ScanPlan(query_lens=(TOKENS,), read_ids=(None,), write_ids=(1,)), torch.arange(TOKENS)
    return layer(x, Step(input_ids=ids, positions=ids, query_lens=(TOKENS,), caches=(plan,))).clone()


@pytest.mark.parametrize("count", [2, 4])
@torch.inference_mode()
def test_states_of_the_shards_heads_add_up(count):
    whole, shards = whole_and_shards(lambda context: Mamba2(MAMBA2, HIDDEN, context=context), count)
    x = inputs()

    parts = [scanned(shard, x) for shard in shards]

    assert [shard.state_shape for shard in shards] == [(8 // count, 12, 16)] * count
    torch.testing.assert_close(sum(parts), scanned(whole, x), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_products_of_row_shards_lie_side_by_side():
    def make(context):
        columns = context.divided("intermediate_size", 32)
        return Linear(HIDDEN, {"gate": columns, "up": columns}, bias=True, context=context)

    whole, shards = whole_and_shards(make, 4)
    x = inputs()

    parts = [shard(x).clone() for shard in shards]

    gate, up = (torch.cat(halves, dim=1) for halves in zip(*(part.chunk(2, dim=1) for part in parts), strict=True))
    torch.testing.assert_close(torch.cat((gate, up), dim=1), whole(x))


EMBEDDINGS = {
    "plain": EmbeddingSpec(vocab_size=11, scale=2.0),
    "positions": EmbeddingSpec(vocab_size=11, positions=LearnedPositions(num_positions=TOKENS, offset=2)),
    "narrow": EmbeddingSpec(vocab_size=11, embedding_dim=24),
}


class Ends(Layer):
    """Both ends of a model."""

    def __init__(self, spec, is_tied, context):
        super().__init__()
        self.embedding = Embedding(spec, HIDDEN, is_tied=is_tied, context=context)
        self.head = Head(HeadSpec(bias=True, softcap=5.0), self.embedding, HIDDEN, context=context)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("spec", EMBEDDINGS.values(), ids=EMBEDDINGS)
@torch.inference_mode()
def test_the_vocabulary_may_be_divided_unequally(spec, is_tied):
    whole, shards = whole_and_shards(lambda context: Ends(spec, is_tied, context), 4)
    ids, positions, x = torch.arange(TOKENS) % 11, torch.arange(TOKENS), inputs()
    given = RowEmbeds(rows=torch.tensor([3, 7]), values=torch.ones(2, spec.embedding_dim or HIDDEN))

    embedded = [shard.embedding(ids, positions, given) for shard in shards]
    logits = [shard.head(x) for shard in shards]

    assert [part.shape[1] for part in logits] == [2, 3, 3, 3]
    torch.testing.assert_close(sum(embedded), whole.embedding(ids, positions, given))
    torch.testing.assert_close(torch.cat(logits, dim=1), whole.head(x))


# What needs all shards


def test_norms_over_all_heads_are_loaded_but_not_computed():
    spec = replace(ATTENTION, qk_norm=QKNorm(norm=RMS, scope="all"))
    _, shards = whole_and_shards(lambda context: SelfAttention(spec, HIDDEN, context=context), 2)

    with pytest.raises(NotBuiltError, match=r"qk_norm\.scope=all = Span\(start=4, stop=8, size=8\)"):
        attended(shards[1], spec, inputs())


@pytest.mark.parametrize(("make", "said"), [
    (lambda c: Mamba2(replace(MAMBA2, num_groups=1), HIDDEN, context=c),
     r"mixer\.norm = Span\(start=0, stop=4, size=8"),
    (lambda c: Mamba(MambaSpec(inner_size=32, state_size=8, conv_size=4, dt_rank=4), HIDDEN, context=c),
     r"mixer\.dt_b_c = Span\(start=0, stop=16, size=32"),
])
def test_state_spaces_that_mix_all_channels_are_loaded_but_not_computed(make, said):
    _, shards = whole_and_shards(make, 2)

    with pytest.raises(NotBuiltError, match=said):
        scanned(shards[0], inputs())


def test_norms_of_embeddings_are_loaded_but_not_computed():
    spec = EmbeddingSpec(vocab_size=11, norm=LayerNorm(eps=1e-5))
    _, shards = whole_and_shards(lambda context: Embedding(spec, HIDDEN, is_tied=False, context=context), 2)

    with pytest.raises(NotBuiltError, match=r"embedding\.norm.*weft exchanges none yet"):
        shards[0](torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))


@pytest.mark.parametrize(("make", "said"), [
    (lambda c: SelfAttention(replace(ATTENTION, num_heads=6), HIDDEN, context=c),
     "num_attention_heads = 6: expected a multiple of the 4 shards"),
    (lambda c: SelfAttention(replace(ATTENTION, num_heads=12, num_kv_heads=3), HIDDEN, context=c),
     "num_key_value_heads = 3: expected a divisor or a multiple of the 4 shards"),
    (lambda c: MLA(replace(MLA_SPEC, num_heads=6), HIDDEN, context=c), "num_attention_heads = 6"),
    (lambda c: MLP(replace(EXPERT, intermediate_size=30), HIDDEN, context=c),
     "intermediate_size = 30: expected a multiple of the 4 shards"),
    (lambda c: MoE(replace(MOE, expert=replace(EXPERT, intermediate_size=30)), HIDDEN, context=c),
     "intermediate_size of an expert = 30: expected a multiple"),
    (lambda c: Embedding(EmbeddingSpec(vocab_size=3), HIDDEN, is_tied=False, context=c),
     "vocab_size = 3: expected at least one for each of 4 shards"),
])
def test_sizes_that_do_not_divide_are_refused_as_the_layer_is_built(make, said):
    with pytest.raises(ConfigError, match=f"^{said}"):
        make(context(1, 4))
