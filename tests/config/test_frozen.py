"""A frozen configuration is data that cannot be changed, and still goes through JSON, msgpack, pickle and copies."""

import copy
import json
import pickle

import msgspec
import pytest

from weft.config.frozen import freeze

FROZEN = freeze({"a": {"b": [1, {"c": 2}]}})


@pytest.mark.parametrize("change", [
    lambda d: d.update(a=1), lambda d: d["a"].pop("b"), lambda d: d["a"]["b"][1].clear(), lambda d: d.setdefault("x"),
    lambda d: d.__setitem__("a", 1), lambda d: d.__delitem__("a"), lambda d: d.popitem(), lambda d: d.__ior__({"a": 1}),
])
def test_no_level_can_be_changed(change):
    with pytest.raises(TypeError, match="frozen"):
        change(FROZEN)


def test_it_is_still_data():
    assert FROZEN == {"a": {"b": (1, {"c": 2})}}
    assert json.loads(json.dumps(FROZEN)) == {"a": {"b": [1, {"c": 2}]}}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(FROZEN)) == {"a": {"b": [1, {"c": 2}]}}
    assert pickle.loads(pickle.dumps(FROZEN)) == copy.deepcopy(FROZEN) == FROZEN


def test_a_changed_copy_is_a_plain_dictionary():
    assert {**FROZEN, "x": 1}["x"] == 1
