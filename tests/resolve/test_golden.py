"""Configs in the shapes that models ship, each with the normalised result or the error that it is known to give.

`python tools/golden_configs.py` writes the results anew, for review.
"""

import pytest
from golden_configs import entries, outcome

ENTRIES = entries()


def test_there_are_many_and_their_names_are_unique():
    assert len(ENTRIES) >= 120
    assert len({entry["name"] for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"].replace(" ", "-"))
def test_a_golden_config_gives_its_kept_result(entry, tmp_path):
    found = outcome(entry, tmp_path)

    assert found == {key: entry[key] for key in ("result", "error") if key in entry}
