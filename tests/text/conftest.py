"""A tokenizer of each kind, as fixtures."""

from __future__ import annotations

from functools import cache

import pytest
from tokenizer_kinds import KINDS

from weft.text.tokenizer import Tokenizer as WeftTokenizer


@pytest.fixture(params=KINDS, scope="session")
def any_tokenizer(request) -> WeftTokenizer:
    """A tokenizer of each kind in turn."""
    return WeftTokenizer(KINDS[request.param]())


@pytest.fixture(scope="session")
def make_cached():
    """make_cached(kind) is the tokenizer of that kind, shared: for tests that do not change it."""
    return cache(lambda kind: WeftTokenizer(KINDS[kind]()))


@pytest.fixture(scope="session")
def make():
    """make(kind, chat_template=None) is a new tokenizer of that kind."""
    return lambda kind, chat_template=None: WeftTokenizer(KINDS[kind](), chat_template=chat_template)
