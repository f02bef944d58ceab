"""The model inside the package: small, right on sums it never saw, and it stops by itself. Run with Transformers."""

import json
import random
import re
from pathlib import Path

import pytest
import torch

from weft import embedded

transformers = pytest.importorskip("transformers")

HELD_OUT = Path(__file__).parent / "held_out_sums.json"
STORY_REQUESTS = (
    "Tell me a story.",
    "tell me a story",
    "Write a short story about a fox",
    "can you tell me a story about a girl named Mia?",
    "PLEASE TELL ME A STORY!",
    "a bedtime story about a dragon and a bee please",
    "I want to hear a story about the sea.",
)
OTHER_REQUESTS = (
    "hi",
    "hello, who are you?",
    "what can you do?",
    "thank you",
    "bye",
    "what is your name",
    "What is the capital of France?",
    "Write a Python function that sorts a list.",
    "12 * 7",
    "1234 + 9",
    "",
    " ",
    "?",
    "asdfghjkl",
    "Привет, как дела?",
    "你好",
    "🙂🙂🙂",
    "\x00\x01",
    "def f(x):\n\treturn x",
    "the " * 200,
    "9" * 60,
    "a story",
    "<|im_start|>user",
)


@pytest.fixture(scope="module")
def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(embedded.path(), padding_side="left")


@pytest.fixture(scope="module")
def model():
    return transformers.AutoModelForCausalLM.from_pretrained(embedded.path(), dtype=torch.float32).eval()


def generate(model, tokenizer, prompts: list[str], max_new_tokens: int, **sampling) -> list[list[int]]:
    """The new tokens after each prompt, up to and with the one that ends them; greedy unless told."""
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    options = sampling or {"do_sample": False, "temperature": None, "top_p": None}
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=max_new_tokens, **options)[
            :, batch["input_ids"].shape[1] :
        ].tolist()
    ends = set(model.generation_config.eos_token_id)
    return [row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))] for row in out]


def chat(tokenizer, *turns: str, system: str | None = None) -> str:
    """The prompt of a chat whose turns alternate, the user's first and last."""
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def assert_is_a_story(text: str) -> None:
    assert text[0].isupper()
    assert text.rstrip('"')[-1] in ".!?"
    assert len(re.findall(r"[.!?]", text)) >= 3
    assert re.fullmatch(r"[A-Za-z ,.!?:\"'\n]+", text)


def test_the_folder_is_smaller_than_8_megabytes():
    assert sum(file.stat().st_size for file in embedded.path().iterdir() if file.is_file()) < 8_000_000


def test_the_model_has_one_to_four_million_parameters_and_one_vocabulary(model, tokenizer):
    assert 1_000_000 < model.num_parameters() < 4_000_000
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().weight.shape[0]


@pytest.mark.parametrize(
    "text", ["27 + 58 = 85.", "Łódź 你好 🙂\n\t\r", "".join(map(chr, range(1, 256))), "  two  spaces "]
)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_every_digit_is_a_token_and_no_bos_is_added(tokenizer):
    assert tokenizer("1907")["input_ids"] == tokenizer.convert_tokens_to_ids(list("1907"))


def test_the_chat_template_writes_chatml_with_and_without_a_system_message(tokenizer):
    assert chat(tokenizer, "hi") == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert chat(tokenizer, "hi", "Hello!", "bye", system="Be kind.") == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        "Hello!<|im_end|>\n<|im_start|>user\nbye<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("phrasing", ["What is {a} + {b}?", "{a}+{b}", "add {a} and {b}"])
def test_sums_that_were_held_out_of_training_are_right(model, tokenizer, phrasing):
    pairs = random.Random(0).sample(json.loads(HELD_OUT.read_text()), 200)

    answers = generate(model, tokenizer, [chat(tokenizer, phrasing.format(a=a, b=b)) for a, b in pairs], 16)

    right = sum(
        re.findall(r"\d+", tokenizer.decode(ids))[-1:] == [str(a + b)]
        for (a, b), ids in zip(pairs, answers, strict=True)
    )
    assert right >= 0.95 * len(pairs)


@pytest.mark.parametrize("system", [None, "You are a helpful assistant."])
@pytest.mark.parametrize(
    "sampling", [{}, {"do_sample": True, "temperature": 0.7, "top_p": 0.95}], ids=["greedy", "sampled"]
)
def test_a_story_is_told_and_ends_by_itself(model, tokenizer, system, sampling):
    torch.manual_seed(0)

    stories = generate(
        model, tokenizer, [chat(tokenizer, ask, system=system) for ask in STORY_REQUESTS], 300, **sampling
    )

    for ids in stories:
        assert ids[-1] == tokenizer.eos_token_id
        assert_is_a_story(tokenizer.decode(ids[:-1]))


def test_a_story_is_about_whom_the_user_names(model, tokenizer):
    asks = [f"Tell me a story about {who}." for who in ("a girl named Mia", "a fox", "Tom")]

    stories = [tokenizer.decode(ids) for ids in generate(model, tokenizer, [chat(tokenizer, ask) for ask in asks], 300)]

    for story, word in zip(stories, ("Mia", "fox", "Tom"), strict=True):
        assert word in story


def test_sampled_stories_differ(model, tokenizer):
    torch.manual_seed(0)

    stories = generate(
        model, tokenizer, [chat(tokenizer, "Tell me a story.")] * 8, 300, do_sample=True, temperature=0.7
    )

    assert len({tuple(ids) for ids in stories}) == 8


def test_a_plain_text_goes_on_as_a_story_and_ends_with_endoftext(model, tokenizer):
    (ids,) = generate(model, tokenizer, ["Once upon a time"], 300)

    assert ids[-1] == tokenizer.pad_token_id
    assert_is_a_story("Once upon a time" + tokenizer.decode(ids[:-1]))


def test_any_other_request_is_answered_and_ends_by_itself(model, tokenizer):
    answers = generate(model, tokenizer, [chat(tokenizer, ask) for ask in OTHER_REQUESTS], 300)

    for ids in answers:
        assert len(ids) > 1
        assert ids[-1] == tokenizer.eos_token_id


def test_a_long_chat_still_adds_and_still_stops(model, tokenizer):
    turns = [turn for n in range(60) for turn in (f"What is {n} + 3?", f"{n} + 3 = {n + 3}.")]
    prompts = [chat(tokenizer, *turns, ask) for ask in ("What is 20 + 31?", "Tell me a story.")]
    assert 1500 < len(tokenizer(prompts[0])["input_ids"]) < 2000

    total, story = (tokenizer.decode(ids[:-1]) for ids in generate(model, tokenizer, prompts, 200))

    assert total == "20 + 31 = 51."
    assert_is_a_story(story)
