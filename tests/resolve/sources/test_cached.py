"""What is downloaded can be seen and removed: revision by revision, nothing else."""

from __future__ import annotations

import time

import pytest
from test_hub import TINY, WEIGHTS

from weft.resolve.sources.cached import cached_models, remove
from weft.resolve.sources.find import find


@pytest.fixture
def scope_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "scope"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "scope"


def two_revisions(hub, access) -> tuple[str, str]:
    """org/tiny at two commits that share the weights."""
    old = hub.add("org/tiny", TINY)
    find("org/tiny", access=access)
    new = hub.commit("org/tiny", {"config.json": b'{"a": 1}'})
    find("org/tiny", access=access)
    return old, new


def test_an_empty_cache_has_no_models(hub, scope_cache):
    assert cached_models() == []


def test_each_revision_is_listed_with_its_size_refs_and_last_use(hub, access, scope_cache):
    old, new = two_revisions(hub, access)

    found = {model.revision: model for model in cached_models()}

    assert set(found) == {old, new}
    assert (found[new].name, found[new].source, found[new].refs, found[old].refs) == ("org/tiny", "hub", ("main",), ())
    assert (found[new].num_files, found[new].size_bytes) == (3, 2 + len(WEIGHTS) + len(b'{"a": 1}'))
    assert abs(found[new].last_used - time.time()) < 60


def test_removing_a_revision_keeps_what_another_one_uses(hub, access, scope_cache):
    old, new = two_revisions(hub, access)

    freed = remove([model for model in cached_models() if model.revision == old])

    [left] = cached_models()
    assert (left.revision, freed) == (new, 0)       # `{}` is the tokenizer's content too
    assert (left.path / "model.safetensors").read_bytes() == WEIGHTS


def test_removing_a_model_leaves_no_trace_of_it_and_a_copy_with_the_same_commit_alone(hub, access, cache, scope_cache):
    commit = hub.add("org/tiny", TINY)
    hub.repos["org/copy"] = hub.repos["org/tiny"]
    find("org/tiny", access=access)
    find("org/copy", access=access)

    freed = remove([model for model in cached_models() if model.name == "org/tiny"])

    assert freed == 2 + len(WEIGHTS)
    assert not (cache / "models--org--tiny").exists()
    assert [(model.name, model.revision) for model in cached_models()] == [("org/copy", commit)]


def test_another_folder_is_looked_at_when_one_is_named(hub, access, tmp_path, scope_cache):
    two_revisions(hub, access)

    assert cached_models(str(tmp_path / "elsewhere")) == []
    assert len(cached_models(str(tmp_path / "cache"))) == 2


def test_models_of_modelscope_are_listed_and_removed_too(hub, scope_cache):
    snapshot = scope_cache / "models" / "org--tiny" / "snapshots" / "master"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")

    [model] = cached_models()
    assert (model.name, model.source, model.revision, model.size_bytes) == ("org/tiny", "modelscope", "master", 2)

    assert remove([model]) == 2
    assert list((scope_cache / "models").iterdir()) == []
