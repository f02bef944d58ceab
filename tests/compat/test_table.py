"""Every string of the table of names resolves, and no name of one path has two meanings."""

import pytest

from weft.compat.vllm.modules import resolve
from weft.compat.vllm.table import ROWS, names, whole_modules


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.home}-{row.paths[0]}")
def test_every_target_of_the_table_exists(row):
    assert all(path == "vllm" or path.startswith("vllm.") for path in row.paths)
    for _, target in row.targets():
        resolve(target)


def test_no_name_has_two_meanings():
    assert names() and whole_modules()
