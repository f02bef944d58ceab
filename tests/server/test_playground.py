"""The page at `/` in a real browser: what a person can do there."""

from __future__ import annotations

import shutil
import time

import pytest
from fake_engine import FakeEngine
from playwright.sync_api import expect, sync_playwright

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome here")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, start_server):
    """open_page(engine, options of the server, options of the browser) -> a page without script errors."""
    contexts, errors = [], []

    def open_page(engine, server=None, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: page.urls.append(request.url))
        page.urls = []
        page.base = start_server(engine, **(server or {}))
        page.goto(page.base)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def send(page, text: str) -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def test_an_answer_is_streamed_and_its_figures_are_shown(open_page):
    page = open_page(FakeEngine("Hello, **world**", step_seconds=0.005))

    send(page, "Hi")

    expect(page.locator(".turn.assistant .text")).to_have_text("Hello, world")
    expect(page.locator(".turn.assistant strong")).to_have_text("world")
    expect(page.locator("#answer-tokens")).to_have_text("17")
    expect(page.locator("#finish")).to_have_text("complete")
    assert float(page.locator("#speed").inner_text()) > 0
    assert int(page.locator("#ttft").inner_text()) > 0


def test_reasoning_is_folded_away_above_the_answer(open_page):
    page = open_page(FakeEngine("<think>Two and two.</think>Four."), {"reasoning_parser": "qwen3"})

    send(page, "2 + 2?")

    expect(page.locator(".turn.assistant .text")).to_have_text("Four.")
    expect(page.locator(".turn.assistant .reasoning")).to_be_hidden()
    page.get_by_text("Reasoning").click()
    expect(page.locator(".turn.assistant .reasoning")).to_have_text("Two and two.")


def test_a_model_and_its_context_are_named(open_page):
    page = open_page(FakeEngine())

    expect(page.get_by_label("Model")).to_have_value("toy")
    expect(page.locator("#context")).to_have_text("512 tokens of context")


def test_the_whole_conversation_and_the_settings_are_sent(open_page):
    engine = FakeEngine("One")
    page = open_page(engine)
    page.get_by_label("System prompt").fill("Be kind.")
    for label, value in (("Temperature", "0.5"), ("Top p", "0.9"), ("Min p", "0.1")):
        page.get_by_label(label, exact=True).fill(value)
    for label, value in (("Top k", "20"), ("Max tokens", "9"), ("Seed", "7"), ("Stop strings", "END, stop")):
        page.get_by_label(label).fill(value)

    send(page, "First")
    page.get_by_role("button", name="Regenerate").wait_for()
    send(page, "Second")
    expect(page.locator(".turn.assistant")).to_have_count(2)
    page.get_by_role("button", name="Copy", exact=True).nth(1).wait_for()

    text = engine.tokenizer.decode(engine.prompts[-1], skip_special_tokens=False)
    assert text == ("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nFirst<|im_end|>\n<|im_start|>assistant\n"
                    "One<|im_end|>\n<|im_start|>user\nSecond<|im_end|>\n<|im_start|>assistant\n")
    params = engine.params
    assert (params.temperature, params.top_p, params.min_p, params.top_k) == (0.5, 0.9, 0.1, 20)
    assert (params.max_tokens, params.seed, params.stop) == (9, 7, ["END", "stop"])


def test_what_is_not_set_is_left_to_the_server(open_page):
    engine = FakeEngine("One", generation_defaults={"temperature": 0.3})
    page = open_page(engine)

    send(page, "First")
    page.get_by_role("button", name="Regenerate").wait_for()

    assert (engine.params.temperature, engine.params.seed, engine.params.stop) == (0.3, None, [])


def test_stop_ends_the_engines_work_and_keeps_the_text(open_page):
    engine = FakeEngine("word " * 90, step_seconds=0.02)
    page = open_page(engine)
    send(page, "Go on")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")

    page.get_by_role("button", name="Stop").click()

    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator(".tools .note")).to_have_text("stopped")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")
    end = time.monotonic() + 10
    while not engine.aborted and time.monotonic() < end:
        page.wait_for_timeout(20)
    assert engine.aborted == engine.started


def test_an_answer_is_text_and_never_markup(open_page):
    reply = ("<img src=x onerror='window.hacked=1'><script>window.hacked=1</script> `<b>x</b>`\n\n"
             "```html\n<i>y</i>\n```\n# <u>z</u>")
    page = open_page(FakeEngine(reply))

    send(page, "<b>mine</b>")
    page.get_by_role("button", name="Regenerate").wait_for()

    assert page.locator(".turn img, .turn script, .turn b, .turn i, .turn u").count() == 0
    assert page.evaluate("window.hacked") is None
    expect(page.locator(".turn.user .text")).to_have_text("<b>mine</b>")
    expect(page.locator(".turn pre code")).to_have_text("<i>y</i>")
    expect(page.locator(".turn p").first).to_contain_text("onerror='window.hacked=1'")


def test_an_answer_can_be_made_again_and_a_conversation_cleared(open_page):
    engine = FakeEngine("One")
    page = open_page(engine)
    page.get_by_role("button", name="What is 27 + 38?").click()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".turn")).to_have_count(2)
    expect(page.locator(".tools")).to_have_count(1)
    assert engine.prompts[0] == engine.prompts[1]

    page.get_by_role("button", name="New chat").click()

    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_text("What shall we weave?")).to_be_visible()


def test_the_page_asks_for_a_key_where_one_is_needed(open_page):
    page = open_page(FakeEngine("Welcome"), {"api_key": ("secret",)})
    expect(page.get_by_role("alert")).to_have_text("This server asks for an API key.")

    page.get_by_label("This server asks for a key").fill("secret")
    page.get_by_role("button", name="Use").click()
    expect(page.get_by_label("Model")).to_have_value("toy")
    send(page, "Hi")

    expect(page.locator(".turn.assistant .text")).to_have_text("Welcome")


def test_an_error_is_told_in_the_servers_words(open_page):
    page = open_page(FakeEngine())

    send(page, "long " * 200)

    expect(page.get_by_role("alert")).to_contain_text("max_model_len = 512")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_the_engines_figures_come_from_the_metrics(open_page):
    engine = FakeEngine()
    engine.stats.num_running, engine.stats.num_waiting, engine.stats.kv_cache_usage = 3, 4, 0.25
    engine.stats.prefix_cache_queries, engine.stats.prefix_cache_hits = 200, 50
    page = open_page(engine)

    expect(page.locator("#running")).to_have_text("3")
    expect(page.locator("#waiting")).to_have_text("4")
    expect(page.locator("#kv")).to_have_text("25.0 %")
    expect(page.locator("#hits")).to_have_text("25.0 %")


def test_the_page_asks_nobody_but_its_server(open_page):
    page = open_page(FakeEngine())
    send(page, "Hi")
    page.get_by_role("button", name="Regenerate").wait_for()

    assert len(page.urls) >= 8
    assert [url for url in page.urls if not url.startswith((page.base, "data:"))] == []


def test_every_control_has_a_name(open_page):
    page = open_page(FakeEngine())

    nameless = page.evaluate("""[...document.querySelectorAll("button, input, select, textarea")].filter(
        (node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim())).map((node) => node.outerHTML)""")
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_chat_and_the_settings_behind_a_button(open_page, scheme):
    page = open_page(FakeEngine("wide" * 60), viewport={"width": 360, "height": 700}, color_scheme=scheme)
    expect(page.get_by_label("System prompt")).to_be_hidden()
    send(page, "Hi")
    page.get_by_role("button", name="Regenerate").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.get_by_role("button", name="Settings and figures").click()

    expect(page.get_by_label("System prompt")).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == scheme


def test_settings_and_colours_outlive_a_reload(open_page):
    page = open_page(FakeEngine(), color_scheme="light")
    page.get_by_label("Seed").fill("42")
    page.get_by_role("button", name="Switch between light and dark").click()

    page.reload()

    expect(page.get_by_label("Seed")).to_have_value("42")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("Seed")).to_have_value("")


def test_a_conversation_can_be_taken_to_the_command_line(open_page):
    page = open_page(FakeEngine(), permissions=["clipboard-read", "clipboard-write"])
    send(page, "It's me")
    page.get_by_role("button", name="Regenerate").wait_for()

    page.get_by_role("button", name="Copy as curl").click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith(f"curl {page.base}/v1/chat/completions")
    assert "It'\\''s me" in command


def test_the_model_that_comes_with_weft_does_sums_on_the_page(open_page):
    engine = AsyncLLM.from_engine_args(EngineArgs(kv_cache_memory_bytes=2**24, num_threads=1))
    try:
        page = open_page(engine)
        page.get_by_label("Temperature", exact=True).fill("0")

        page.get_by_role("button", name="What is 27 + 38?").click()

        expect(page.locator(".turn.assistant .text")).to_contain_text("65", timeout=30_000)
        expect(page.locator("#finish")).to_have_text("complete")
    finally:
        engine.shutdown()
