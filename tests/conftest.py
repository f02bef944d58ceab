"""Options and fixtures of all tests. Modules that tests share lie in support/, which is on the path."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--cpu-isa", default="auto", help="level that engines use unless a test says one; none: as if "
                                                       "weft had been installed without its native kernels")
    parser.addoption("--matrix-part", default=None, help="I/N: the part of all architectures that test_matrix.py "
                                                         "compares; that of the date unless given")
    parser.addoption("--all-schemas", action="store_true", help="all 1,000 of tests/test_structured_schemas.py")


def pytest_configure(config):
    cap = config.getoption("--cpu-isa")
    if cap == "none":
        sys.modules["weft._native"] = None                   # importing it is an ImportError from now on
    elif cap != "auto":
        import weft.resolve.engine_config as resolving

        resolve = resolving.resolve_isa
        resolving.resolve_isa = lambda asked, flags: resolve(cap if asked == "auto" else asked, flags)
        os.environ["WEFT_CPU_ISA"] = cap                     # for the commands that tests start


@pytest.fixture
def kept_logging():
    """Levels and handlers of logging as they were: commands that run in this process set them."""
    loggers = logging.getLogger("weft"), logging.getLogger()
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def toy_tokenizer(tmp_path_factory) -> Path:
    """The directory of a tokenizer whose token i is byte i (see toy_engine)."""
    import toy_engine  # loads transformers, which most tests do without

    return toy_engine.save_tokenizer(tmp_path_factory.mktemp("toy_tokenizer"))
