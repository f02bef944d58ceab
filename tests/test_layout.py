"""The house keeps its shape: imports point down and form no circle, files are short, nothing heavy loads early, no
switches in corners.
"""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "weft"
# Bottom first. A module imports from its own floor and from those below.
LAYERS = (
    "errors",
    "version",
    "isolated",
    "compat.vllm.options",      # a floor of its own: the lowest modules ask its table; the rest of compat is higher
    "field_checks",
    "structured_outputs",
    "reasoning_budget",
    "repetition_detection",
    "sampling_extras",
    "sampling_params",
    "pooling_params",
    "outputs",
    "config",
    "compat",
    "extend",
    "parallel",
    "ops",
    "cache",
    "architectures",
    "resolve",
    "layers",
    "checkpoint",
    "models",
    "grammar",
    "text",
    "media",
    "engine",
    "frontend",
    "llm",
    "async_llm",
    "testing",
    "discover",
    "server",
    "cli",
)
# Floors that must not know others, though the order would allow it.
STRANGERS = {
    "engine": {"text", "media"},
    "media": {"models", "checkpoint", "layers", "ops", "cache", "text"},
    "text": {"models", "checkpoint", "layers"},
    "grammar": {"models", "checkpoint", "layers", "ops"},
    "server": {"models", "checkpoint", "layers", "ops"},
}
WITHOUT_TORCH = (
    "errors",
    "compat.vllm.options",
    "structured_outputs",
    "reasoning_budget",
    "repetition_detection",
    "sampling_params",
    "pooling_params",
    "outputs",
    "config",
    "compat",
    "extend",
    "cache",
    "resolve",
    "architectures",
    "grammar",
    "text",
    "server",
    "cli",
)
# Files that may read the environment: the commands, and what says which hub names are looked up on.
ENVIRONMENT = ("cli/", "compat/vllm/__main__.py", "resolve/sources/environment.py")
MODULES = sorted(p for p in PACKAGE.rglob("*.py"))


def floor(path: Path) -> str:
    return floor_of(module_name(path).removeprefix("weft."))


def floor_of(name: str) -> str:
    """The floor of a module, named without `weft.`: the longest name in LAYERS that it is or lies under."""
    parts = name.split(".")
    above = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in above if name in LAYERS), parts[0])


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, *, top_level_only: bool = False):
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = floor(path)
    if own in ("weft", "embedded"):
        return
    for name in imports(path):
        if not name.startswith("weft."):
            continue
        other = floor_of(name.removeprefix("weft."))
        if other in ("embedded", "_native"):
            continue
        assert other in LAYERS, f"{path.name} imports {name}, which is on no floor"
        assert LAYERS.index(other) <= LAYERS.index(own), f"{own} imports {name} from above"
        assert other not in STRANGERS.get(own, ()), f"{own} must not know {other}"


def test_no_circle_of_files_imports_each_other():
    modules = {module_name(path): path for path in MODULES}
    graph = {}
    for name, path in modules.items():
        froms = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        assert all(node.level == 0 for node in froms), f"{name} has a relative import"
        found = [(node.module, f"{node.module}.{alias.name}") for node in froms for alias in node.names]
        graph[name] = {inner if inner in modules else module for module, inner in found} & modules.keys() - {name}

    TopologicalSorter(graph).prepare()                  # CycleError names the files of a circle


def test_every_module_is_on_a_floor():
    assert {floor(p) for p in MODULES} - {"weft", "embedded"} == set(LAYERS)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if floor(p) in WITHOUT_TORCH], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_floors_without_torch_do_not_import_it(path):
    heavy = [name for name in imports(path, top_level_only=True) if name.split(".")[0] in ("torch", "transformers")]

    assert heavy == []


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert {name for name in names if names.count(name) > 1} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_are_short(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} has {node.end_lineno - node.lineno + 1} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path):
    source = path.read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source)), "no module docstring"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_environment_is_read_in_the_commands_only(path):
    if str(path.relative_to(PACKAGE)).startswith(ENVIRONMENT):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        reads = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
        assert not reads, f"line {node.lineno} reads the environment"


@pytest.mark.parametrize(("statement", "without"), [
    *((statement, ("torch", "transformers", "fastapi")) for statement in (
        "import weft", "import weft.cli.main", "from weft import SamplingParams")),
    ("import weft.llm, weft.engine.core", ("transformers", "fastapi", "PIL"))])
def test_imports_stay_light(statement, without):
    code = f"{statement}; import sys; print(*[m for m in {without!r} if m in sys.modules])"

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.split() == []
