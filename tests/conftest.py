"""Shared by all tests. Lying here, it also puts this directory on the path, so that a test may import `toy_engine`."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory) -> Path:
    """The directory of a tokenizer whose token i is byte i (see toy_engine)."""
    import toy_engine  # loads transformers, which most tests do without

    return toy_engine.save_tokenizer(tmp_path_factory.mktemp("toy_tokenizer"))
