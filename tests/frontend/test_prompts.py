"""The forms of a prompt, and what is refused in each."""

from __future__ import annotations

import pytest

from weft.errors import NotBuiltError, RequestError
from weft.frontend.prompts import PairPrompt, Prompt, parse_prompt, split_prompts


@pytest.mark.parametrize(("prompt", "parsed"), [
    ("hi", Prompt(text="hi", token_ids=None)),
    ("nul \0 is text", Prompt(text="nul \0 is text", token_ids=None)),
    ([1, 2], Prompt(text=None, token_ids=[1, 2])),
    ((1, 2), Prompt(text=None, token_ids=[1, 2])),
    ({"prompt": "hi"}, Prompt(text="hi", token_ids=None)),
    ({"prompt": "hi", "prompt_token_ids": [1]}, Prompt(text="hi", token_ids=[1])),
    ({"prompt_token_ids": [1], "cache_salt": "s"}, Prompt(text=None, token_ids=[1], cache_salt="s")),
    ({"encoder_prompt": "hi"}, Prompt(text=None, token_ids=None, encoder=Prompt(text="hi", token_ids=None))),
    ({"encoder_prompt": [1], "decoder_prompt": {"prompt": "hi"}, "cache_salt": "s"},
     Prompt(text="hi", token_ids=None, cache_salt="s", encoder=Prompt(text=None, token_ids=[1]))),
    ({"prompt": "hi", "encoder_prompt": None}, Prompt(text="hi", token_ids=None)),
    ({"prompt": "hi", "multi_modal_data": None, "mm_processor_kwargs": {}}, Prompt(text="hi", token_ids=None)),
])
def test_every_form_of_a_prompt_is_read(prompt, parsed):
    assert parse_prompt(prompt) == parsed


@pytest.mark.parametrize(("prompt", "field"), [
    ("", "prompt"),
    ("\udc80", "prompt"),
    ([], "prompt_token_ids"),
    ([1, True], "prompt_token_ids[1]"),
    ([1, 2, 3, "4"], "prompt_token_ids[3]"),
    ([1.0], "prompt_token_ids[0]"),
    ([None], "prompt_token_ids[0]"),
    ([[1]], "prompt_token_ids[0]"),
    (None, "prompt"),
    (5, "prompt"),
    (b"hi", "prompt"),
    ({}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt_token_ids": "12"}, "prompt_token_ids"),
    ({"prompt_token_ids": [1], "prompt": "\ud800"}, "prompt"),
    ({"prompt": "hi", "promt": "x"}, "prompt"),
    ({"prompt": "hi", 10**5000: "x"}, "prompt"),
    ({"prompt": "hi", "cache_salt": ""}, "prompt.cache_salt"),
    ({"encoder_prompt": "hi", "cache_salt": ""}, "prompt.cache_salt"),
    ({"decoder_prompt": "hi"}, "encoder_prompt"),
    ({"encoder_prompt": "hi", "prompt": "hi"}, "prompt.prompt"),
    ({"encoder_prompt": ""}, "encoder_prompt"),
    ({"encoder_prompt": "hi", "decoder_prompt": [1.5]}, "decoder_prompt"),
    ({"encoder_prompt": {"encoder_prompt": "hi"}}, "encoder_prompt"),
    ({"encoder_prompt": {"prompt_embeds": "AA"}}, "encoder_prompt"),
    ({"prompt": "hi", "cache_salt": 5}, "prompt.cache_salt"),
])
def test_a_wrong_prompt_is_refused_by_name(prompt, field):
    with pytest.raises(RequestError) as error:
        parse_prompt(prompt)

    assert error.value.field == field


@pytest.mark.parametrize(("key", "value"), [("multi_modal_data", {"video": 1}),
                                            ("multi_modal_data", {"image": {"image_embeds": 1}}),
                                            ("media_io_kwargs", {"image": 1})])
def test_forms_without_code_say_so(key, value):
    with pytest.raises(NotBuiltError, match=key):
        parse_prompt({"prompt": "hi", key: value})


@pytest.mark.parametrize(("given", "field"), [
    ({"multi_modal_data": {"picture": 1}}, "multi_modal_data"), ({"multi_modal_data": [1]}, "multi_modal_data"),
    ({"multi_modal_data": {"image": [None]}}, "multi_modal_data.image[0]"),
    ({"multi_modal_data": {"image": 1}, "multi_modal_uuids": {"image": ["a", "b"]}}, "multi_modal_uuids.image"),
    ({"multi_modal_uuids": {"image": ["a"]}}, "multi_modal_uuids.image"),
    ({"multi_modal_data": {"image": 1}, "multi_modal_uuids": {"image": [""]}}, "multi_modal_uuids.image[0]"),
    ({"multi_modal_data": {"image": 1}, "mm_processor_kwargs": [1]}, "mm_processor_kwargs"),
    ({"mm_processor_kwargs": {"size": 1}}, "mm_processor_kwargs"),
    ({"multi_modal_data": {"image": 1}, "mm_processor_kwargs": {"return_tensors": "np"}},
     "mm_processor_kwargs.return_tensors"),
    ({"multi_modal_data": {"image": 1}, "mm_processor_kwargs": {"images": []}}, "mm_processor_kwargs.images"),
    ({"prompt_embeds": 1, "multi_modal_data": {"image": 1}}, "multi_modal_data"),
])
def test_media_of_a_wrong_form_are_refused(given, field):
    with pytest.raises(RequestError) as error:
        parse_prompt(({} if "prompt_embeds" in given else {"prompt": "hi"}) | given)

    assert error.value.field == field


@pytest.mark.parametrize(("prompts", "count"), [
    ("one", 1), ({"prompt": "one"}, 1), ([1, 2, 3], 1), (["one", [1, 2], {"prompt": "x"}], 3), ([[1, 2]], 1), ([], 0),
    ((1, 2), 1), (("a", "b"), 2), (PairPrompt("a", "b"), 1), ([PairPrompt("a", "b")], 1),
])
def test_one_prompt_and_a_list_of_prompts_are_told_apart(prompts, count):
    assert len(split_prompts(prompts)) == count


@pytest.mark.parametrize("prompts", [None, 5, b"x", {1, 2}])
def test_what_is_no_list_of_prompts_is_refused(prompts):
    with pytest.raises(RequestError, match="prompts"):
        split_prompts(prompts)
