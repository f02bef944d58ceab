"""The names that most public model files import: real objects, classes to subclass, or refused with a reason.

`model_file_names.txt` holds the names that suffice for half, 80% and 95% of these files.
"""

from pathlib import Path

import pytest

from weft.compat.vllm.finder import root
from weft.compat.vllm.modules import submodule
from weft.compat.vllm.placeholder import LaterType, Placeholder
from weft.compat.vllm.reasons import reason_for
from weft.errors import NotBuiltError

LINES = [line.split() for line in (Path(__file__).parent / "model_file_names.txt").read_text().splitlines()[1:]]
NAMES = [(int(share), module, name) for share, module, *names in LINES for name in names]
# Of the names for 80%: what is no class that files subclass, and has no object.
REFUSED_OF_80 = {"MambaAttentionBackendEnum"}


def kind(module, name):
    """"real", "subclassable" or "refused"."""
    found = getattr(submodule(root(), module), name)
    if isinstance(found, Placeholder):
        return "refused"
    return "subclassable" if isinstance(found, LaterType) else "real"


def counts(shares):
    kinds = [kind(module, name) for share, module, name in NAMES if share in shares]
    return {each: kinds.count(each) for each in ("real", "subclassable", "refused")}


def test_the_counts_of_names_by_what_they_are():
    assert counts([50, 80]) == {"real": 80, "subclassable": 2, "refused": 1}
    assert counts([50, 80, 95]) == {"real": 117, "subclassable": 4, "refused": 7}


def test_of_the_names_for_80_percent_the_refused_are_these():
    assert {name for share, module, name in NAMES if share < 95 and kind(module, name) == "refused"} == REFUSED_OF_80


@pytest.mark.parametrize(("module", "name"), [entry[1:] for entry in NAMES if kind(*entry[1:]) != "real"])
def test_a_name_without_object_says_why(module, name):
    with pytest.raises(NotBuiltError) as error:
        getattr(submodule(root(), module), name)()

    reason = reason_for(f"{module}.{name}")
    assert f"{module}.{name}" in str(error.value)
    assert reason is not None
    assert reason[1:] in str(error.value)


def test_a_class_without_object_may_be_subclassed():
    for _, module, name in NAMES:
        if kind(module, name) == "subclassable":
            type("Own", (getattr(submodule(root(), module), name),), {})
