"""What clients, files and other processes send is data: no module of weft reads it in a form that can bring code."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import weft.errors

PACKAGE = Path(weft.errors.__file__).parent      # an editable install has a second folder, of the native module
MODULES = sorted(PACKAGE.rglob("*.py"))
FORMATS_WITH_CODE = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
# The module that names pickle's error, which torch raises; and those that run code of the user's, or of weft's own.
ERRORS_OF_PICKLE = {"checkpoint/torch_file.py"}
RUN_CODE = {"discover/expressions.py", "extend/python_file.py"}


@cache
def all_nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def nodes(path: Path, kind: type) -> list:
    return [node for node in all_nodes(path) if isinstance(node, kind)]


def name_of(node: ast.expr) -> str:
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else getattr(node, "id", "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_reads_no_format_that_can_bring_code(path):
    place = str(path.relative_to(PACKAGE))
    imported = {alias.name.split(".")[0] for node in nodes(path, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in nodes(path, ast.ImportFrom)}
    assert place in ERRORS_OF_PICKLE or not imported & FORMATS_WITH_CODE

    for call in nodes(path, ast.Call):
        name, given = name_of(call.func), {word.arg: word.value for word in call.keywords}
        assert name not in ("yaml.load", "yaml.unsafe_load", "numpy.load", "np.load"), name
        assert place in RUN_CODE or name not in ("eval", "exec"), name
        if name == "torch.load":
            assert isinstance(given.get("weights_only"), ast.Constant) and given["weights_only"].value is True


def test_templates_run_in_the_sandbox_that_changes_nothing():
    makers = {str(path.relative_to(PACKAGE)): name_of(call.func) for path in MODULES for call in nodes(path, ast.Call)
              if name_of(call.func).endswith("Environment")}

    assert makers == {"text/template.py": "ImmutableSandboxedEnvironment"}
