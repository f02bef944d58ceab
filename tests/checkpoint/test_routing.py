"""A family's names applied to tensor names, and fused layouts taken apart."""

import pytest
import torch

from weft.architectures.names import GroupedQKV, HeadMatrices, HeadRows, Plain, Rule, names
from weft.checkpoint.routing import Router, has_rows, split_suffix, take_apart

ROUTER = Router(names({
    "model.embed": "embedding.tokens",
    "model.layers.{i}.q": "blocks.{i}.mixer.q",
    "model.layers.{i}.gate_up": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
    "model.layers.{i}.experts.{e}.w1": "blocks.{i}.ffn.experts.{e}.gate",
    "model.layers.{i}.experts.{e}.w2": "blocks.{i}.ffn.experts.{e}.down",
    "model.layer_{i}.0.fc": Rule("model.layer_{i}.0.fc", ("blocks.{i}.ffn.up",), Plain(transposed=True)),
    "model.layers.{i}.dt_bias": "blocks.{i}.mixer.dt.bias",
    "lm_head": "head",
}, optional_prefix="model.", ignored=("model.layers.{i}.rotary.inv_freq", "model.layers.{i}.attn.mask"),
   ignored_prefixes=("model.layers.61.", "model.layers.62.")))


@pytest.mark.parametrize(("name", "homes"), [
    ("model.embed.weight", ("embedding.tokens.weight",)),
    ("embed.weight", ("embedding.tokens.weight",)),
    ("lm_head.bias", ("head.bias",)),
    ("model.layers.12.q.bias", ("blocks.12.mixer.q.bias",)),
    ("layers.12.q.weight", ("blocks.12.mixer.q.weight",)),
    ("model.layers.3.gate_up.weight", ("blocks.3.ffn.gate.weight", "blocks.3.ffn.up.weight")),
    ("model.layers.3.experts.17.w2.weight", ("blocks.3.ffn.experts.17.down.weight",)),
    ("model.layer_4.0.fc.weight", ("blocks.4.ffn.up.weight",)),
    ("model.layers.3.q", ("blocks.3.mixer.q",)),
])
def test_a_tensor_goes_to_the_homes_of_its_rule_with_its_suffix(name, homes):
    assert ROUTER.route(name).homes == homes


@pytest.mark.parametrize("name", ["model.layers.q.weight", "model.layers.x.q.weight", "model.layers.3.qq.weight",
                                  "head.weight", "model.layers.3.experts.1.w3.weight", "model.layer_4.1.fc.weight",
                                  "model.layers.3.q.scale", "model.model.embed.weight", "", "model."])
def test_a_name_that_no_rule_knows_goes_nowhere(name):
    assert ROUTER.route(name) is None


@pytest.mark.parametrize(("name", "ignored"), [
    ("model.layers.7.rotary.inv_freq", True), ("layers.7.rotary.inv_freq", True),
    ("model.layers.7.attn.mask.bias", True),
    ("model.layers.7.attn.mask", True), ("model.layers.7.rotary", False), ("model.layers.x.rotary.inv_freq", False),
])
def test_buffers_are_ignored_by_whole_name_or_stem(name, ignored):
    assert ROUTER.is_ignored(name) is ignored


@pytest.mark.parametrize("name", ["model.layers.61.q.weight", "model.layers.62.embed_tokens.weight"])
def test_layers_that_nothing_is_made_of_are_ignored_whole(name):
    assert ROUTER.route(name) is None
    assert ROUTER.is_ignored(name)
    assert not ROUTER.is_ignored("model.layers.6.embed_tokens.weight")


def test_a_home_knows_the_tensors_that_would_fill_it():
    assert ROUTER.sources_of("blocks.3.ffn.experts.17.down.weight") == ("model.layers.3.experts.17.w2.weight",)
    assert ROUTER.sources_of("blocks.4.ffn.up.bias") == ("model.layers.4.gate_up.bias", "model.layer_4.0.fc.bias")
    assert ROUTER.sources_of("blocks.4.mixer.dt.bias") == ("model.layers.4.dt_bias",)
    assert ROUTER.sources_of("unknown.weight") == ()


def test_suffixes_are_weight_and_bias():
    assert split_suffix("a.weight") == ("a", ".weight")
    assert split_suffix("a.bias") == ("a", ".bias")
    assert split_suffix("a.scale") == ("a.scale", "")


def test_one_home_takes_the_tensor_as_it_is():
    tensor = torch.randn(3, 2)

    part, = take_apart(Plain(), tensor, [99])

    assert part is tensor


def test_a_transposed_matrix_is_turned_and_a_vector_is_not():
    matrix, vector = torch.randn(2, 3), torch.randn(3)

    assert torch.equal(take_apart(Plain(transposed=True), matrix, [3])[0], matrix.t())
    assert torch.equal(take_apart(Plain(transposed=True), vector, [3])[0], vector)


def test_rows_are_divided_in_the_order_of_the_homes():
    q, k, v = take_apart(Plain(), torch.arange(8), [4, 2, 2])

    assert (q.tolist(), k.tolist(), v.tolist()) == ([0, 1, 2, 3], [4, 5], [6, 7])


def test_rows_of_a_transposed_matrix_are_those_after_turning():
    fused = torch.arange(6).reshape(2, 3)                     # [in, out]: q, k and v are columns

    q, k, v = take_apart(Plain(transposed=True), fused, [1, 1, 1])

    assert (q.tolist(), k.tolist(), v.tolist()) == ([[0, 3]], [[1, 4]], [[2, 5]])


def test_grouped_rows_are_collected_over_the_groups():
    # Two groups of two q heads, a k and a v, each of two rows.
    labels = ["q0", "q0", "q1", "q1", "k0", "k0", "v0", "v0", "q2", "q2", "q3", "q3", "k1", "k1", "v1", "v1"]
    layout = GroupedQKV(num_groups=2, queries_per_group=2, head_dim=2)

    q, k, v = take_apart(layout, torch.arange(16), [8, 4, 4])

    assert [labels[i] for i in q] == ["q0", "q0", "q1", "q1", "q2", "q2", "q3", "q3"]
    assert [labels[i] for i in k] == ["k0", "k0", "k1", "k1"]
    assert [labels[i] for i in v] == ["v0", "v0", "v1", "v1"]


def test_grouped_matrices_keep_their_columns():
    layout = GroupedQKV(num_groups=3, queries_per_group=1, head_dim=2)
    fused = torch.arange(18 * 5.0).reshape(18, 5)

    q, k, v = take_apart(layout, fused, [6, 6, 6])

    assert torch.equal(q, fused[[0, 1, 6, 7, 12, 13]])
    assert torch.equal(k, fused[[2, 3, 8, 9, 14, 15]])
    assert torch.equal(v, fused[[4, 5, 10, 11, 16, 17]])


def test_rows_of_each_head_are_collected_over_the_heads():
    labels = ["k0", "k0", "v0", "k1", "k1", "v1"]             # two heads, of each two rows of k and one of v

    k, v = take_apart(HeadRows(num_heads=2, sizes=(2, 1)), torch.arange(6), [4, 2])

    assert [labels[i] for i in k] == ["k0", "k0", "k1", "k1"]
    assert [labels[i] for i in v] == ["v0", "v1"]


def test_matrices_of_the_heads_are_put_below_each_other_and_turned_where_they_are_stored_so():
    stored = torch.arange(2 * 3 * 4).view(2, 3, 4)

    as_it_is, = take_apart(HeadMatrices(), stored, [6])
    turned, = take_apart(HeadMatrices(transposed=True), stored, [8])

    assert torch.equal(as_it_is, torch.cat([stored[0], stored[1]]))
    assert torch.equal(turned, torch.cat([stored[0].t(), stored[1].t()]))
    assert has_rows(HeadMatrices())
    assert not has_rows(HeadMatrices(transposed=True))


def test_rows_that_do_not_divide_are_an_error_with_the_numbers():
    with pytest.raises(ValueError, match=r"7 rows, the model has 4 \+ 2 \+ 2"):
        take_apart(Plain(), torch.zeros(7, 4), [4, 2, 2])
    with pytest.raises(ValueError, match=r"2 groups x \(1 q \+ k \+ v\) x 2 = 12"):
        take_apart(GroupedQKV(num_groups=2, queries_per_group=1, head_dim=2), torch.zeros(13), [4, 4, 4])
    with pytest.raises(ValueError, match=r"2 heads x \(2 \+ 1\) = 6"):
        take_apart(HeadRows(num_heads=2, sizes=(2, 1)), torch.zeros(7, 3), [4, 2])
    with pytest.raises(ValueError, match="a matrix for each head"):
        take_apart(HeadMatrices(), torch.zeros(7), [7])


def test_a_rule_below_an_ignored_prefix_wins_and_one_that_only_its_number_puts_there_does_not():
    router = Router(names({"cls.decoder": "pooler.decoder", "lm_head": "head",
                           "model.layers.{i}.q": "blocks.{i}.mixer.q"},
                          ignored_prefixes=("cls.", "lm_head.", "model.layers.61.")))

    assert router.route("cls.decoder.weight").homes == ("pooler.decoder.weight",)
    assert router.route("lm_head.bias").homes == ("head.bias",)
    assert router.route("cls.dense.weight") is None
    assert router.is_ignored("cls.dense.weight")
    assert router.route("model.layers.60.q.weight").homes == ("blocks.60.mixer.q.weight",)
    assert router.route("model.layers.61.q.weight") is None
