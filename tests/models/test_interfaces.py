"""A model's abilities are read from its attributes, and what it claims is compared with the protocols' signatures."""

import logging

import pytest
from programmed_llama import MyLlama
from torch import nn

from weft.errors import ConfigError
from weft.extend import model_api
from weft.models import interfaces, interfaces_base
from weft.models.interface_check import ABILITIES, check_class, claims_without_members

FLAGS = {
    interfaces.supports_lora: "supports_lora", interfaces.supports_multimodal: "supports_multimodal",
    interfaces.supports_multimodal_raw_input_only: "supports_multimodal_raw_input_only",
    interfaces.supports_multimodal_encoder_tp_data: "supports_encoder_tp_data",
    interfaces.has_inner_state: "has_inner_state", interfaces.is_attention_free: "is_attention_free",
    interfaces.is_hybrid: "is_hybrid", interfaces.has_noops: "has_noops",
    interfaces.supports_mamba_prefix_caching: "supports_mamba_prefix_caching",
    interfaces.supports_transcription: "supports_transcription", interfaces.supports_realtime: "supports_realtime",
    interfaces.supports_eagle: "supports_eagle", interfaces.supports_eagle3: "supports_eagle3",
    interfaces.supports_any_eagle: "supports_eagle3", interfaces.supports_mrope: "supports_mrope",
    interfaces.supports_score_template: "supports_score_template", interfaces_base.is_pooling_model: "is_pooling_model",
}


def made(*bases, **members):
    return type("Made", (*bases, nn.Module), members)


@pytest.mark.parametrize("predicate", FLAGS, ids=lambda predicate: predicate.__name__)
def test_a_flag_is_seen_on_a_class_and_on_an_instance(predicate):
    with_flag, without = made(**{FLAGS[predicate]: True}), made()

    assert predicate(with_flag) and predicate(with_flag())
    assert not predicate(without) and not predicate(without())


def test_inheriting_from_a_protocol_sets_its_flag():
    cls = made(interfaces.SupportsLoRA, interfaces.HasInnerState, interfaces.IsHybrid)

    assert interfaces.supports_lora(cls) and interfaces.has_inner_state(cls) and interfaces.is_hybrid(cls)
    assert not interfaces.is_attention_free(cls)
    assert isinstance(cls(), interfaces.HasInnerState)


def test_a_pipeline_needs_the_method_that_makes_empty_tensors():
    def assigns(self):
        nn.Module.__init__(self)
        self.make_empty_intermediate_tensors = print

    assert not interfaces.supports_pp(made(interfaces.SupportsPP))               # the protocol's own does nothing
    assert not interfaces.supports_pp(made(make_empty_intermediate_tensors=print))
    assert interfaces.supports_pp(made(supports_pp=True, make_empty_intermediate_tensors=print))
    cls = made(interfaces.SupportsPP, __init__=assigns)
    assert interfaces.supports_pp(cls) and interfaces.supports_pp(cls())


def test_who_computes_logits_generates():
    assert interfaces_base.is_text_generation_model(MyLlama) and interfaces_base.is_model(MyLlama)
    assert not interfaces_base.is_text_generation_model(made())
    assert not interfaces_base.is_text_generation_model(made(interfaces_base.TextGenerationModel))


def test_scores_belong_to_pooling_models():
    cross = made(interfaces.SupportsCrossEncoding)

    assert not interfaces.supports_cross_encoding(cross)
    assert interfaces.supports_cross_encoding(type("Pooling", (cross,), {"is_pooling_model": True}))
    assert interfaces.supports_cross_encoding(made(is_pooling_model=True, supports_cross_encoding=True))
    assert interfaces.supports_late_interaction(made(is_pooling_model=True, score_type="late-interaction"))
    assert interfaces_base.get_score_type(made()) == "bi-encoder"


@pytest.mark.parametrize(("members", "sequence", "token"), [
    ({}, "LAST", "ALL"), ({"default_pooling_type": "CLS"}, "CLS", "ALL"),
    ({"default_pooling_type": "STEP"}, "LAST", "STEP"),
    ({"default_seq_pooling_type": "MEAN", "default_tok_pooling_type": "STEP"}, "MEAN", "STEP"),
])
def test_pooling_defaults_are_read_from_newer_and_older_attributes(members, sequence, token):
    assert interfaces_base.get_default_seq_pooling_type(made(**members)) == sequence
    assert interfaces_base.get_default_tok_pooling_type(made(**members)) == token


def test_decorators_set_pooling_and_attention():
    cls = interfaces_base.attn_type("encoder_only")(interfaces_base.default_pooling_type("CLS")(made()))

    assert interfaces_base.get_attn_type(cls) == "encoder_only" and interfaces_base.get_attn_type(made()) == "decoder"
    assert interfaces_base.get_default_seq_pooling_type(cls) == "CLS"


def test_experts_count_where_an_instance_has_all_their_members():
    members = dict.fromkeys(interfaces.MixtureOfExperts.__annotations__, 1) | {"set_eplb_state": print}

    assert interfaces.is_mixture_of_experts(made(**members)())
    assert not interfaces.is_mixture_of_experts(made(**members | {"num_moe_layers": 0})())
    assert not interfaces.is_mixture_of_experts(made()())


# Claims


def test_a_class_that_keeps_its_promises_is_not_warned_of(caplog):
    assert check_class(MyLlama) is MyLlama
    assert caplog.text == ""


@pytest.mark.parametrize("ability", ABILITIES, ids=lambda ability: ability.flag)
def test_a_flag_without_its_members_is_warned_of(ability):
    texts = claims_without_members(made(**{ability.flag: True}))

    assert len(texts) == len(ability.needs)
    for text, member in zip(texts, ability.needs, strict=True):
        assert f"Made.{ability.flag} is set" in text and member in text


def test_a_member_with_another_signature_is_shown_with_the_expected_one(caplog):
    cls = type("Mine", (MyLlama,), {"supports_eagle3": True, "set_aux_hidden_state_layers": lambda self: None})
    with caplog.at_level(logging.WARNING, logger="weft"):
        check_class(cls)

    words = "set_aux_hidden_state_layers(self) cannot be called as set_aux_hidden_state_layers(self, layers)"
    assert words in caplog.text


def test_a_class_method_of_a_protocol_may_be_one_or_not():
    class Scores(MyLlama):
        supports_score_template = True

        @classmethod
        def get_score_template(cls, query, document):
            return query + document

    assert claims_without_members(Scores) == []


def test_a_pooling_model_needs_no_logits():
    members = {name: value for name, value in vars(MyLlama).items() if name not in ("__dict__", "__weakref__")}
    del members["compute_logits"]

    assert check_class(type("Pools", (nn.Module,), members | {"is_pooling_model": True, "pooler": None}))
    with pytest.raises(ConfigError, match=r"model_class = 'Lacks': expected a method compute_logits\(self, hidden_st"):
        check_class(type("Lacks", (nn.Module,), members))


# Versions


def test_a_class_for_this_version_is_taken():
    check_class(type("Mine", (MyLlama,), {"requires_model_api": model_api.MODEL_API}))


def test_a_class_for_a_newer_version_is_refused():
    with pytest.raises(ConfigError, match=r"requires_model_api = 99 \(in Mine\): expected 1, .*install a newer weft"):
        check_class(type("Mine", (MyLlama,), {"requires_model_api": 99}))


def test_a_class_for_an_older_version_is_told_what_changed(monkeypatch):
    monkeypatch.setattr(model_api, "MODEL_API", 3)
    monkeypatch.setattr(model_api, "SUPPORTED", (3,))
    monkeypatch.setattr(model_api, "CHANGES", {1: "first", 2: "forward takes a step", 3: "names changed"})

    with pytest.raises(ConfigError, match=r"2: forward takes a step; 3: names changed\. Adapt the model"):
        check_class(type("Mine", (MyLlama,), {"requires_model_api": 1}))


def test_a_version_that_is_not_the_newest_may_be_supported(monkeypatch):
    monkeypatch.setattr(model_api, "SUPPORTED", (1, 2))
    monkeypatch.setattr(model_api, "MODEL_API", 2)

    for version in (1, 2):
        check_class(type("Mine", (MyLlama,), {"requires_model_api": version}))


def test_every_version_says_what_changed():
    assert list(model_api.CHANGES) == list(range(1, model_api.MODEL_API + 1))
    assert model_api.MODEL_API in model_api.SUPPORTED
