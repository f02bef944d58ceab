"""Compiled templates are kept within a number of bytes."""

import pytest

from weft.text.template_cache import TemplateCache


@pytest.fixture
def compiled():
    """The texts that were compiled, in order."""
    return []


def make(compiled: list[str], max_bytes: int) -> TemplateCache[str]:
    return TemplateCache(lambda text: compiled.append(text) or text.upper(), max_bytes)


def test_a_text_is_compiled_once(compiled):
    cache = make(compiled, 2**20)

    assert [cache.get("a"), cache.get("b"), cache.get("a")] == ["A", "B", "A"]
    assert compiled == ["a", "b"]


def test_the_text_used_longest_ago_is_dropped_and_the_bytes_stay_bounded(compiled):
    cache = make(compiled, 3 * 8192)
    for text in ("a", "b", "a", "c"):
        cache.get(text)
        assert 0 < cache.num_bytes <= 3 * 8192

    cache.get("a")
    assert compiled == ["a", "b", "c"]      # two fit: b has made room for c
    cache.get("b")
    assert compiled == ["a", "b", "c", "b"]


def test_a_text_that_is_too_large_is_not_kept(compiled):
    cache = make(compiled, 10_000)

    assert cache.get("x" * 1000) == cache.get("x" * 1000) == "X" * 1000
    assert (len(compiled), cache.num_bytes) == (2, 0)


def test_a_text_that_cannot_be_compiled_is_not_kept():
    cache = TemplateCache(int)
    for _ in range(2):
        with pytest.raises(ValueError):
            cache.get("no number")

    assert cache.num_bytes == 0
