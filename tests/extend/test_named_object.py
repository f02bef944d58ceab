"""Objects named by text are found, errors in their modules are told with the place, and objects get portable names."""

import importlib
import sys

import pytest

from weft.errors import ConfigError
from weft.extend.named_object import load_named, portable_name
from weft.extend.python_file import load_python_file


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "some_models"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "fine.py").write_text("class Fine:\n    class Inner: pass\n\n"
                                    "def made():\n    class Local: pass\n    return Local\n")
    (folder / "deep.py").write_text("import json\n\ndef fail():\n    json.loads('{')\n")
    (folder / "broken.py").write_text("from some_models.deep import fail\n\nfail()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "some_models"]:
        del sys.modules[name]


def test_an_object_of_a_module_or_file(package):
    assert load_named("some_models.fine:Fine", field="x").__name__ == "Fine"
    assert load_named(f"{package / 'fine.py'}:Fine", field="x").__name__ == "Fine"


def test_the_last_line_of_the_users_own_code_is_named_not_the_librarys(package):
    with pytest.raises(ConfigError, match=r"x = 'some_models.broken:M': .*JSONDecodeError: .*/deep.py, line 4\)"):
        load_named("some_models.broken:M", field="x")


def test_a_file_that_raises_is_named_with_its_line(tmp_path):
    (tmp_path / "mine.py").write_text("a = 1\n\nb = a / 0\n")

    with pytest.raises(ConfigError, match=r"ZeroDivisionError: division by zero \(.*/mine.py, line 3\)"):
        load_named(f"{tmp_path / 'mine.py'}:M", field="x")


def test_a_module_that_is_not_there_says_so_without_a_place():
    with pytest.raises(ConfigError, match=r"ModuleNotFoundError: No module named 'no_such_module'$"):
        load_named("no_such_module:M", field="x")


def test_a_syntax_error_says_where_it_is(tmp_path):
    (tmp_path / "mine.py").write_text("a = 1\nb = (\n")

    with pytest.raises(ConfigError, match=r"SyntaxError: .*mine.py, line 2"):
        load_named(f"{tmp_path / 'mine.py'}:M", field="x")


def test_a_portable_name_leads_back_to_the_object(package):
    fine = importlib.import_module("some_models.fine")
    of_file = load_python_file(package / "fine.py", field="model_file")

    assert portable_name(fine.Fine) == "some_models.fine:Fine" and portable_name(fine.made) == "some_models.fine:made"
    assert portable_name(of_file.Fine) == f"{package / 'fine.py'}:Fine"
    assert portable_name(fine.Fine.Inner) is None and portable_name(fine.made()) is None
    assert portable_name(type("Loose", (), {})) is None
