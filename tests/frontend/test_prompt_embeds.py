"""Prompts as embeddings: read from a tensor or its text, checked row by row, and refused with one reason."""

from __future__ import annotations

import base64
import io
import zipfile

import pytest
import torch
from toy_engine import EMBEDS_SIZE, ToyCore, make_config

from weft.engine.process.messages import NO_TOKEN
from weft.engine.process.wire_tensor import from_wire
from weft.errors import RequestError
from weft.frontend.inputs import InputProcessor
from weft.frontend.prompt_embeds import read_prompt_embeds
from weft.sampling_params import SamplingParams


def read(value, *, dtype="float32", max_num_tokens=8) -> torch.Tensor:
    return from_wire(read_prompt_embeds(value, size=4, dtype=dtype, max_num_tokens=max_num_tokens))


def as_text(value, **options) -> str:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return base64.b64encode(file.getvalue()).decode()


def rows(*shape: int) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)


@pytest.mark.parametrize("value", [rows(3, 4), rows(4, 3).t(), rows(3, 8)[:, ::2], rows(1, 4).expand(3, 4),
                                   torch.nn.Parameter(rows(3, 4))], ids=["plain", "turned", "strided", "expanded",
                                                                         "parameter"])
@pytest.mark.parametrize("form", [lambda value: value, as_text], ids=["tensor", "text"])
def test_the_numbers_arrive_however_they_lie(value, form):
    assert torch.equal(read(form(value)), value.detach())


@pytest.mark.parametrize("given", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_become_the_models_dtype(given, dtype):
    assert torch.equal(read(rows(2, 4).to(given), dtype=dtype), rows(2, 4).to(getattr(torch, dtype)))


@pytest.mark.parametrize(("value", "reason"), [
    (rows(3, 5), r"\[3, 5\] float32': expected a tensor \[tokens, 4\]"),
    (rows(4), r"\[4\] float32.*two dimensions"),
    (rows(1, 3, 4), r"\[1, 3, 4\] float32.*no batch"),
    (rows(0, 4), "1 to 8 rows"),
    (rows(9, 4), "1 to 8 rows"),
    (rows(3, 4).long(), "int64.*of float32, float16 or bfloat16"),
    (rows(3, 4).to(torch.complex64), "complex64"),
    (rows(3, 4).bool(), "bool"),
    (rows(3, 4).to_sparse(), "dense"),
    (torch.empty(3, 4, device="meta"), "with its numbers"),
    ([[1.0, 2.0, 3.0, 4.0]], "expected a tensor"),
    (7, "expected a tensor"),
], ids=["width", "one dim", "three dims", "empty", "too long", "integers", "complex", "bools", "sparse", "meta", "list",
        "number"])
def test_what_is_no_prompt_is_refused_by_name(value, reason):
    with pytest.raises(RequestError, match=rf"prompt_embeds = .*{reason}"):
        read(value)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_the_first_row_that_is_not_finite_is_named(wrong):
    value = rows(4, 4)
    value[2, 1] = wrong

    with pytest.raises(RequestError, match=r"prompt_embeds\[2\] = .*finite numbers in float32"):
        read(value)


def test_numbers_too_large_for_the_models_dtype_are_not_finite():
    with pytest.raises(RequestError, match=r"prompt_embeds\[0\] = .*finite numbers in float16"):
        read(torch.full((1, 4), 1e6), dtype="float16")


class Planted:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("never",))


def small_zip(**files: bytes) -> str:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(("text", "reason"), [
    ("", "base64 text of a tensor"),
    ("not base64!", "base64 text of a tensor"),
    ("ä", "base64 text of a tensor"),
    (base64.b64encode(b"no archive at all").decode(), "torch.save"),
    (as_text(rows(2, 4), _use_new_zipfile_serialization=False), "torch.save"),
    (as_text(Planted()), "UnpicklingError"),
    (as_text([rows(2, 4)]), "expected a tensor"),
    (as_text({"a": 1}), "expected a tensor"),
    (as_text(rows(3, 5)), r"\[3, 5\]"),
    (as_text(rows(2, 4).to_sparse()), "dense"),
    (small_zip(a=b"nothing of torch"), "torch.save"),
    (small_zip(a=bytes(1 << 24)), "bytes unpacked"),
    ("A" * 2_000_000, "2000000 characters"),
], ids=["empty", "no base64", "no ascii", "no archive", "old format", "code", "list", "dict", "width", "sparse",
        "other archive", "bomb", "long"])
def test_text_from_anyone_is_read_safely(text, reason, capsys):
    with pytest.raises(RequestError, match=rf"prompt_embeds = .*{reason}"):
        read(text)

    assert "never" not in capsys.readouterr().out


def test_a_tensor_that_claims_more_numbers_than_it_brings_is_refused():
    file = io.BytesIO()
    torch.save(rows(2, 4), file)
    cut = io.BytesIO()
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(cut, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            data = source.read(entry)
            target.writestr(entry.filename, data[:4] if entry.filename.endswith("data/0") else data)

    with pytest.raises(RequestError, match=r"prompt_embeds"):
        read(base64.b64encode(cut.getvalue()).decode())


@pytest.fixture
def inputs() -> InputProcessor:
    config = make_config(None, enable_prompt_embeds=True)
    return InputProcessor(config, None, ToyCore(config).info)


def test_each_row_is_a_position_without_a_token_id(inputs):
    prepared = inputs.prepare("r", {"prompt_embeds": rows(3, EMBEDS_SIZE)}, SamplingParams(max_tokens=None, n=2))

    assert (prepared.prompt_token_ids, prepared.num_prompt_embeds) == ([], 3)
    for child in prepared.children:
        assert child.prompt_token_ids == [NO_TOKEN] * 3
        assert torch.equal(from_wire(child.prompt_embeds), rows(3, EMBEDS_SIZE))
        assert child.params.max_tokens == 61


@pytest.mark.parametrize(("params", "field"), [
    ({"prompt_logprobs": 1}, "prompt_logprobs = 1"), ({"repetition_penalty": 1.5}, "repetition_penalty = 1.5"),
    ({"truncate_prompt_tokens": 2}, "truncate_prompt_tokens = 2"),
])
def test_what_needs_the_prompts_ids_is_refused(inputs, params, field):
    with pytest.raises(RequestError, match=rf"{field}: expected .* with prompt_embeds"):
        inputs.prepare("r", {"prompt_embeds": rows(3, EMBEDS_SIZE)}, SamplingParams(**params))


def test_a_prompt_as_long_as_the_context_leaves_no_room_for_an_answer(inputs):
    assert inputs.prepare("r", {"prompt_embeds": rows(63, EMBEDS_SIZE)}, SamplingParams())
    with pytest.raises(RequestError, match=r"prompt_embeds = .*1 to 63 rows"):
        inputs.prepare("r", {"prompt_embeds": rows(64, EMBEDS_SIZE)}, SamplingParams())


def test_both_ids_and_embeddings_are_one_too_many(inputs):
    with pytest.raises(RequestError, match=r"prompt_token_ids = .*None beside prompt_embeds"):
        inputs.prepare("r", {"prompt_embeds": rows(2, EMBEDS_SIZE), "prompt_token_ids": [1, 2]}, SamplingParams())


def test_without_the_option_none_are_taken():
    config = make_config(None)
    inputs = InputProcessor(config, None, ToyCore(config).info)

    with pytest.raises(RequestError, match=r"prompt_embeds = .*enable_prompt_embeds"):
        inputs.prepare("r", {"prompt_embeds": rows(2, EMBEDS_SIZE)}, SamplingParams())


def test_a_model_that_takes_none_says_so():
    config = make_config(None, enable_prompt_embeds=True)
    info = ToyCore(config).info
    info.prompt_embeds_size = None

    with pytest.raises(RequestError, match=r"prompt_embeds = .*Toy takes no embeddings"):
        InputProcessor(config, None, info).prepare("r", {"prompt_embeds": rows(2, 2)}, SamplingParams())
