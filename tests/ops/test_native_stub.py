"""weft/_native.pyi, by which the type checker knows the extension, says what the extension has."""

import ast
import re
from pathlib import Path

import pytest

import weft
from weft.ops.native import extension, is_installed

pytestmark = pytest.mark.skipif(not is_installed(), reason="no native kernels here")
STUB = Path(weft.__file__).with_name("_native.pyi")
REMAKE = f"run: python -m nanobind.stubgen -m weft._native -o {STUB.parent.name}/{STUB.name}"


def parameters(node):
    return [argument.arg for argument in node.args.posonlyargs + node.args.args]


def told(body):
    """{name: its parameters, or what a class has} of a stub's public names."""
    found = {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = told(node.body)
        elif isinstance(node, ast.FunctionDef) and node.name != "__init__":
            found[node.name] = None if node.decorator_list else parameters(node)
    return found


def there(holder):
    """The same of the module or of a class of it."""
    found = {}
    for name, value in vars(holder).items():
        if isinstance(value, type):
            found[name] = there(value)
        elif hasattr(value, "__nb_signature__") and name != "__init__":
            signature = re.sub(r"\\(\d+)", r"\1", value.__nb_signature__[0][0])         # defaults are numbered
            found[name] = parameters(ast.parse(signature + ": ...").body[0])
        elif isinstance(value, property):
            found[name] = None
    return found


def test_the_stub_has_the_names_and_the_parameters_of_the_extension():
    assert told(ast.parse(STUB.read_text()).body) == there(extension()), REMAKE
