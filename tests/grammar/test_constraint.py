"""What a `Constraint` says of the next token."""

from __future__ import annotations

import numpy as np
import pytest
from byte_grammars import EOS, constraint_of, next_ids

from weft.grammar.constraint import ConstraintError, only_id
from weft.structured_outputs import StructuredOutputsParams as Form


@pytest.mark.parametrize(("allowed", "only"), [([], None), ([0], 0), ([31], 31), ([95], 95), ([4, 5], None),
                                               ([4, 70], None), (range(96), None)])
def test_only_id_is_the_token_of_a_row_with_one_bit(allowed, only):
    row = np.zeros(3, np.uint32)
    for token_id in allowed:
        row[token_id // 32] |= np.uint32(1 << token_id % 32)

    assert only_id(row) == only


def test_a_constraint_goes_its_own_way_and_back():
    first = constraint_of(Form(regex="ab?"))
    second = first.new()

    second.accept(ord("a"))
    assert (next_ids(first), next_ids(second)) == ({ord("a")}, {ord("b"), EOS})
    assert second.is_complete and not first.is_complete

    second.rollback(1)
    assert next_ids(second) == {ord("a")}


def test_a_token_that_is_not_allowed_is_an_error():
    with pytest.raises(ConstraintError):
        constraint_of(Form(regex="ab")).accept(ord("x"))
