"""Names that differ in numbers only are one line."""

from pathlib import Path

from weft.checkpoint.grouping import group_names, pattern_of


def lines(*names, description="[2]", file="a"):
    return [str(group) for group in group_names((name, description, Path(file)) for name in names)]


def test_a_range_of_layers_is_one_line():
    assert lines(*(f"blocks.{i}.q.weight" for i in range(28))) == ["  blocks.{0..27}.q.weight  [2] in a"]


def test_layers_times_experts_are_one_line():
    names = [f"blocks.{i}.experts.{e}.w1" for i in range(3) for e in range(8)]

    assert lines(*names) == ["  blocks.{0..2}.experts.{0..7}.w1  [2] in a"]


def test_gaps_are_shown():
    assert lines("b.0.q", "b.2.q", "b.3.q", "b.7.q") == ["  b.{0,2..3,7}.q  [2] in a"]


def test_one_name_stays_as_it_is():
    assert lines("b.5.w1.weight") == ["  b.5.w1.weight  [2] in a"]
    assert lines("norm.weight") == ["  norm.weight  [2] in a"]


def test_what_is_no_full_product_is_divided_by_its_first_number():
    assert lines("b.0.e.0", "b.0.e.1", "b.1.e.0") == ["  b.0.e.{0..1}  [2] in a", "  b.1.e.0  [2] in a"]


def test_other_descriptions_are_other_lines():
    found = group_names([("b.0.q", "[2]", None), ("b.1.q", "[3]", None), ("b.2.q", "[2]", None)])

    assert [str(group) for group in found] == ["  b.{0,2}.q  [2]", "  b.1.q  [3]"]


def test_of_many_files_two_are_named():
    found = group_names([(f"b.{i}.q", "[2]", Path(f"f{i}")) for i in range(5)])

    assert str(found[0]) == "  b.{0..4}.q  [2] in f0, f1 and 3 more"


def test_numbers_between_dots_are_marked_in_a_pattern():
    assert pattern_of("model.layers.12.mlp.w1.weight") == "model.layers.{i}.mlp.w1.weight"


def test_another_name_is_shown_with_the_ranges_of_the_group():
    group, = group_names([(f"blocks.{i}.q", "", None) for i in range(4)])

    assert group.renamed("model.layers.0.q_proj") == "model.layers.{0..3}.q_proj"


def test_layers_and_experts_keep_their_own_ranges_in_another_name():
    group, = group_names([(f"blocks.{i}.experts.{e}.gate", "", None) for i in range(2) for e in range(8)])

    assert group.renamed("model.layers.0.experts.0.w1") == "model.layers.{0..1}.experts.{0..7}.w1"
