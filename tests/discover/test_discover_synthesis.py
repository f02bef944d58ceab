"""Values that parts had for several configs become expressions of the configs' keys."""

import pytest

from weft.architectures.reader import ConfigReader
from weft.architectures.spec import Causal, MLPSpec, RMSNorm, SlidingWindow
from weft.discover.code import Call, Choice, statement
from weft.discover.expressions import Expressions, Sample
from weft.discover.no_part import NoPartError
from weft.discover.synthesis import expression

CONFIGS = [
    {"hidden_size": 64, "inner": 128, "act": "silu", "eps": 1e-5, "factor": 3.0, "types": ["wide", "narrow"],
     "window": 12, "has_norm": True},
    {"hidden_size": 96, "inner": 112, "act": "gelu", "eps": 2e-5, "factor": 2.0, "types": ["narrow", "wide"],
     "window": 9, "has_norm": False},
]
READERS = [ConfigReader(values) for values in CONFIGS]


def found(values, *, by_layer=False):
    samples = [Sample(c, layer) for c in READERS for layer in range(2 if by_layer else 1)]
    return str(expression("place", samples, values, Expressions(samples, {}, {})))


def test_a_size_is_read_from_the_key_that_has_it_in_all_configs():
    made = found([MLPSpec(intermediate_size=128, act="silu", gated=True),
                  MLPSpec(intermediate_size=112, act="gelu", gated=True)])

    assert made == 'MLPSpec(intermediate_size=c.positive("inner"), act=keys.activation(c, "act"), gated=True)'


def test_a_measured_factor_is_explained_by_a_power_of_a_key():
    assert found([3.0 ** -0.5, 2.0 ** -0.5]) == 'c.float("factor") ** -0.5'


def test_a_number_that_never_changes_stays_a_number():
    assert found([0.5, 0.5]) == "0.5"


def test_parts_of_two_kinds_are_chosen_by_the_layers_entry_in_a_list():
    window = [SlidingWindow(window=12), SlidingWindow(window=9)]
    made = found([Causal(), window[0], window[1], Causal()], by_layer=True)

    assert made == 'Causal() if c.list("types")[layer] == "wide" else SlidingWindow(window=c.positive("window"))'


def test_a_part_that_is_not_always_there_depends_on_a_switch():
    assert found([RMSNorm(eps=1e-5), None]) == 'RMSNorm(eps=c.float("eps")) if c.bool("has_norm") else None'


def test_values_that_no_key_explains_are_an_error_with_the_place():
    samples = [Sample(READERS[0]), Sample(READERS[0])]

    with pytest.raises(NoPartError, match=r"place.*which of 17, 23"):
        expression("place", samples, [17, 23], Expressions(samples, {}, {}))


def test_long_expressions_are_divided_into_lines_that_fit():
    call = Call("Part", tuple((f"field_{i}", Choice("c.bool(\"x\")", Call("Inner", (("a", "1"),)), "None"))
                              for i in range(8)))
    text = statement("part = ", call)

    assert max(map(len, text.splitlines())) <= 120
    compile("def f():\n" + text, "made", "exec")
