"""weft's models equal Transformers in every way of running, and the way that differs is blamed."""

import json
from pathlib import Path

import programmed_llama
import pytest
import torch
from planted import plant
from tiny_encoders import write_encoder
from tiny_llama import make_checkpoint
from tiny_models import write_checkpoint
from tiny_variants import STATE_VARIANTS, VARIANTS
from torch import nn

import weft.engine.step_inputs as step_inputs
from weft.errors import ConfigError
from weft.testing import Settings, check_model, verify_model

KINDS = ["qwen2-moe", "gemma3", "gpt-neox", "deepseek-v2", "opt-350m"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    write_checkpoint(VARIANTS["llama"], path)
    return path


@pytest.mark.parametrize("variant", KINDS)
def test_models_equal_transformers_in_every_way_of_running(tmp_path, variant):
    write_checkpoint(VARIANTS[variant], tmp_path)

    report = check_model(tmp_path, num_threads=1)

    assert [check.verdict for check in report.checks] == ["equal"] * 5
    assert {"embedding", "blocks.0", "blocks.1", "head"} <= report.parts.keys()
    assert max(report.parts.values()) < 1e-5


def test_a_model_with_states(tmp_path):
    write_checkpoint(STATE_VARIANTS["mamba2"], tmp_path)

    report = check_model(tmp_path, num_threads=1)

    assert {check.name for check in report.checks if check.verdict == "equal"} >= {
        "forward pass", "chunked prefill", "batching", "decode"}


def test_an_encoder(tmp_path):
    write_encoder(tmp_path, "bert")

    report = check_model(tmp_path, num_threads=1)

    assert {check.name: check.verdict for check in report.checks} == {
        "forward pass": "equal", "batching": "equal", "chunked prefill": "not checked", "decode": "not checked",
        "prefix cache": "not checked"}


@pytest.mark.parametrize(("wrong", "blame"), [
    (lambda item: item.num_new_tokens == 1 and item.start > 40, {"decode"}),
    (lambda item: item.num_new_tokens > 1 and item.start > 0, {"chunked prefill", "prefix cache"}),
    (lambda item: item.seq.num_cached_tokens, {"prefix cache"}),
    (lambda item: item.seq.request_id == "beside", {"batching"}),
])
def test_the_way_of_running_that_differs_is_blamed(llama, monkeypatch, wrong, blame):
    places = step_inputs._places

    def moved(items, num_decodes):
        found, first = places(items, num_decodes), 0
        for item in items:
            if wrong(item):
                found[first : first + item.num_new_tokens] -= 1
            first += item.num_new_tokens
        return found

    monkeypatch.setattr(step_inputs, "_places", moved)

    report = verify_model(llama, num_threads=1)

    assert set(report.blame) == blame
    assert report.fault is None
    for check in report.checks:
        assert (check.first == "blocks.0") == (check.name in blame)
    assert "differs: " + ", ".join(report.blame) in report.text()


def test_a_prompt_of_ones_own_and_one_that_is_wrong(llama):
    assert check_model(llama, prompt=[5, 9, 11, 30], num_new=4).num_tokens == 7
    with pytest.raises(ConfigError, match="at least two token ids"):
        verify_model(llama, prompt=[5])
    with pytest.raises(ConfigError, match="at least two token ids"):
        verify_model(llama, prompt=[5, 320])


def test_text_is_tokenized(tmp_path):
    make_checkpoint(tmp_path)

    assert check_model(tmp_path, prompt="Hello, world", num_new=2).num_tokens == len("Hello, world") + 1


def test_options_of_the_config_count_on_both_sides(llama):
    check_model(llama, hf_overrides={"rms_norm_eps": 0.3, "num_hidden_layers": 2}, num_threads=1)


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"quantization": "int8"}, {"tolerance": 0.0},
                                     {"num_tokens": 1}, {"attention": "flash"}])
def test_what_cannot_be_compared_is_refused(llama, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        verify_model(llama, **options)


def test_a_class_that_transformers_does_not_have(tmp_path):
    make_checkpoint(tmp_path, architectures=["MineForCausalLM"], model_type="mine")
    file = tmp_path / "mine.py"
    file.write_text("from weft.architectures.llama import llama\nfrom weft.architectures.registry import architecture\n"
                    "mine = architecture('MineForCausalLM')(lambda c: llama(c))\n")

    with pytest.raises(ConfigError, match="expected a checkpoint that Transformers can run") as caught:
        verify_model(tmp_path, model_file=str(file))

    assert "\n" not in str(caught.value)


class Plain(nn.Module):
    """A model of another make: logits [1, T, V] for ids [1, T]."""

    def __init__(self, model, factor=1.0):
        super().__init__()
        self.inner, self.factor = model, factor

    def forward(self, input_ids):
        return self.inner(input_ids).logits * self.factor


def test_a_reference_of_ones_own(tmp_path):
    model = plant(tmp_path, "llama")

    assert check_model(tmp_path, reference=Plain(model)).reference == "Plain"
    report = verify_model(tmp_path, reference=Plain(model, 1.5))
    assert report.blame == ("forward pass",)


def test_a_programmed_model(tmp_path):
    make_checkpoint(tmp_path)

    report = check_model(tmp_path, model_class=programmed_llama.MyLlama, num_threads=1)

    assert [check.verdict for check in report.checks] == ["equal"] * 5


@pytest.mark.parametrize(("change", "part", "kind"), [
    (("d, d ** -0.5", "d, 2 * d ** -0.5"), "o_proj", "attention before this product"),
    (("eps=", "eps=3 * "), "layernorm", "epsilon of the norm"),
    (("SiluAndMul()", "GeluAndMul()"), "act_fn", "activation"),
    (("hidden, residual = self.post", "residual = residual * 2\n        hidden, residual = self.post"),
     "post_attention_layernorm", "a residual sum"),
])
def test_a_fault_of_a_programmed_model_is_named(tmp_path, change, part, kind):
    make_checkpoint(tmp_path, rms_norm_eps=0.05)
    code = Path(programmed_llama.__file__).read_text()
    assert change[0] in code
    code = code.replace(*change).replace("    SiluAndMul,", "    GeluAndMul,\n    SiluAndMul,")
    (tmp_path / "mine.py").write_text(code)

    report = verify_model(tmp_path, model_file=str(tmp_path / "mine.py"), num_threads=1)

    assert report.blame == ("forward pass",)
    assert part in report.fault.part
    assert kind in report.fault.kind
    assert report.fault.layer == 0


def test_a_report_is_plain_data(llama):
    found = json.loads(json.dumps(verify_model(llama, num_threads=1).as_json()))

    assert found["is_equal"] is True
    assert found["blame"] == []
    assert found["checks"][0]["name"] == "forward pass"


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="num_new"):
        Settings(num_new=-1)
    assert torch.is_inference_mode_enabled() is False
