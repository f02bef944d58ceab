"""What is wired is found by calling a model without numbers; what cannot be wired says why."""

import pytest
import torch
import transformers
from tiny_transformers import KINDS

from weft.cache.masks import CAUSAL, Bidirectional, Chunked
from weft.models.transformers.attention import register
from weft.models.transformers.blocks import block_spec
from weft.models.transformers.wiring import NotWiredError, _rule, find_sites, meta_model


def sites(kind, ending="ForCausalLM", **changes):
    register()
    stem, values = KINDS[kind]
    cls = getattr(transformers, stem + ending)
    config = cls.config_class(**(values | changes))
    return find_sites(meta_model(cls, config, torch.float32), config.num_hidden_layers)


def test_windows_softcaps_and_scales_are_read_from_the_call():
    outline, found = sites("gemma2", query_pre_attn_scalar=64)

    assert outline.backbone == "model"
    assert [site.window for site in found] == [12, None, 12]
    assert {site.softcap for site in found} == {4.0}
    assert {site.scale for site in found} == {64 ** -0.5}
    assert {(site.num_heads, site.num_kv_heads, site.head_dim) for site in found} == {(4, 2, 32)}


def test_value_heads_may_be_smaller_than_keys():
    _, found = sites("deepseek-v3")

    assert {(site.head_dim, site.value_dim) for site in found} == {(24, 12)}


def test_sinks_are_a_parameter_of_the_module():
    assert {site.sinks for site in sites("gpt-oss")[1]} == {"sinks"}


def test_an_encoder_is_bidirectional():
    outline, found = sites("bert", ending="Model")

    assert outline.backbone == ""
    assert {site.mask for site in found} == {Bidirectional()}


@pytest.mark.parametrize(("kind", "reason"), [
    ("bloom", "does not go through"), ("mamba", "states"), ("lfm2", "1 of its 3 layers attend")])
def test_the_reason_why_a_model_stays_as_it_is(kind, reason):
    with pytest.raises(NotWiredError, match=reason):
        sites(kind)


@pytest.mark.parametrize(("sees", "found"), [
    (lambda q, k: k <= q, (CAUSAL, None)),
    (lambda q, k: q - 4096 < k <= q, (CAUSAL, 4096)),
    (lambda q, k: k <= q and k // 8192 == q // 8192, (Chunked(8192), None)),
    (lambda q, k: True, (Bidirectional(), None)),
], ids=["causal", "window", "chunked", "bidirectional"])
def test_masks_are_told_by_asking_them(sees, found):
    assert _rule(sees) == found


@pytest.mark.parametrize("sees", [
    lambda q, k: abs(q - k) < 100,
    lambda q, k: k <= q and (k == 0 or q - k < 8),
    lambda q, k: k <= q or (q < 3 and k < 3),
], ids=["bidirectional window", "window and the first token", "prefix"])
def test_masks_that_the_cache_has_not_are_refused(sees):
    with pytest.raises(NotWiredError):
        _rule(sees)


def test_a_norms_formula_is_found_without_a_copy_of_the_model_whose_calls_were_noted(monkeypatch):
    register()
    cls, config = transformers.LlamaForCausalLM, transformers.LlamaConfig(**KINDS["llama"][1])
    model = meta_model(cls, config, torch.float32)
    _, (first, *_) = find_sites(model, config.num_hidden_layers)
    copied, attention = [], type(model.model.layers[0].self_attn)
    monkeypatch.setattr(attention, "__deepcopy__", lambda module, memo: copied.append(module), raising=False)

    spec = block_spec(model.model.layers[0], first, config, 16, torch.float32)

    assert spec.mixer_norm is not None and spec.mixer_norm.eps == config.rms_norm_eps
    assert copied == []
