"""Plugins are functions of installed packages: all run, or those that are named; one that fails stops nothing."""

import logging
import sys

import pytest

from weft.resolve.plugins import load_plugins


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package with three plugins, as pip leaves one."""
    (tmp_path / "some_plugin.py").write_text(
        "ran = []\ndef good(): ran.append('good')\ndef other(): ran.append('other')\ndef bad(): 1 / 0\n")
    info = tmp_path / "some_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[weft.plugins]\ngood = some_plugin:good\nbad = some_plugin:bad\nother = some_plugin:other\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: sys.modules["some_plugin"].ran
    sys.modules.pop("some_plugin", None)


def test_all_plugins_run_and_one_that_fails_is_logged(installed, caplog):
    with caplog.at_level(logging.INFO, logger="weft"):
        assert load_plugins(None) == ("good", "other")

    assert installed() == ["good", "other"]
    assert "plugin bad failed and is left out" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_only_the_named_ones_run_in_their_order_and_an_unknown_name_is_logged(installed, caplog):
    assert load_plugins(("other", "nobody", "good")) == ("other", "good")
    assert load_plugins(()) == ()

    assert installed() == ["other", "good"]
    assert "plugin nobody is not installed; there are: bad, good, other" in caplog.text
