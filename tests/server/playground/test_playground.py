"""The page at `/` in a real browser: a chat, its settings and figures."""

from __future__ import annotations

import json
import time

import pytest
from fake_engine import FakeEngine
from playground_page import LOW_CONTRAST, ask, send, texts
from playwright.sync_api import expect


def test_an_answer_is_streamed_and_its_figures_are_shown(page, engine):
    engine.says("Hello, **world**", step_seconds=0.005)

    ask(page, "Hi")

    expect(page.locator(".turn.assistant .text")).to_have_text("Hello, world")
    expect(page.locator(".turn.assistant strong")).to_have_text("world")
    expect(page.locator("#answer-tokens")).to_have_text("17")
    expect(page.locator("#finish")).to_have_text("complete")
    assert float(page.locator("#speed").inner_text()) > 0
    assert int(page.locator("#ttft").inner_text()) > 0


@pytest.mark.parametrize("view", ["chat", "complete"])
def test_a_stream_that_ends_before_its_end_is_an_error(page, view):
    choice = {"index": 0, "delta": {"content": "Half"}, "text": "Half", "finish_reason": None}
    page.route("**/v1/completions", lambda route: route.fulfill(
        content_type="text/event-stream", body=f"data: {json.dumps({'choices': [choice]})}\n\n"))
    page.route("**/v1/chat/completions", lambda route: route.fulfill(
        content_type="text/event-stream", body=f"data: {json.dumps({'choices': [choice]})}\n\n"))
    if view == "chat":
        send(page, "Hi")
        expect(page.locator(".turn.assistant .text")).to_contain_text("Half")
    else:
        page.get_by_role("link", name="Complete").click()
        page.get_by_label("A text to continue").fill("Hi")
        page.get_by_role("button", name="Continue the text").click()
        expect(page.locator("#continued")).to_have_text("Half")

    expect(page.get_by_text("The connection to the server broke before the end of the answer.").first).to_be_visible()
    expect(page.locator("#finish")).to_have_text("failed")


def test_reasoning_is_folded_away_above_the_answer(page, engine):
    engine.says("<think>Two and two.</think>Four.")

    ask(page, "2 + 2?")

    expect(page.locator(".turn.assistant > .text")).to_have_text("Four.")
    expect(page.locator(".turn.assistant .reasoning")).to_be_hidden()
    page.get_by_text("Reasoning").click()
    expect(page.locator(".turn.assistant .reasoning")).to_have_text("Two and two.")


def test_a_model_and_its_context_are_named(page):
    expect(page.get_by_role("combobox", name="Model")).to_have_value("toy")
    expect(page.locator("#context")).to_have_text("512 tokens of context")


def test_the_whole_conversation_and_the_settings_are_sent(page, engine):
    engine.says("One")
    page.get_by_label("System prompt").fill("Be kind.")
    for label, value in (("Temperature", "0.5"), ("Top p", "0.9"), ("Min p", "0.1")):
        page.get_by_label(label, exact=True).fill(value)
    for label, value in (("Top k", "20"), ("Max tokens", "9"), ("Seed", "7"), ("Stop strings", "END, stop")):
        page.get_by_label(label).fill(value)

    ask(page, "First")
    ask(page, "Second")

    assert engine.prompt_texts()[-1] == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nFirst<|im_end|>\n<|im_start|>assistant\n"
        "One<|im_end|>\n<|im_start|>user\nSecond<|im_end|>\n<|im_start|>assistant\n")
    params = engine.params
    assert (params.temperature, params.top_p, params.min_p, params.top_k) == (0.5, 0.9, 0.1, 20)
    assert (params.max_tokens, params.seed, params.stop) == (9, 7, ["END", "stop"])


def test_sliders_and_empty_fields_show_the_models_defaults_and_leave_them_to_the_server(page, engine):
    expect(page.get_by_label("Temperature", exact=True)).to_have_attribute("placeholder", "0.35")
    expect(page.get_by_label("Temperature slider")).to_have_value("0.35")
    expect(page.get_by_label("Max tokens")).to_have_attribute("placeholder", "300")

    ask(page, "First")

    assert (engine.params.temperature, engine.params.seed, engine.params.stop) == (0.35, None, [])


def test_a_model_that_is_not_loaded_yet_tells_its_defaults_after_its_first_answer(page):
    seen = []

    def answer(route):
        cards = route.fetch().json()
        if not seen:
            cards["data"] = [card | {"meta": None, "max_model_len": None} for card in cards["data"]]
        seen.append(cards)
        route.fulfill(json=cards)

    page.route("**/v1/models", answer)
    page.reload()
    expect(page.locator("#context")).to_have_text("not loaded yet")
    page.get_by_role("combobox", name="Model").select_option("toy-alias")
    expect(page.get_by_label("Temperature", exact=True)).to_have_attribute("placeholder", "1")

    ask(page, "Hi")

    expect(page.locator("#context")).to_have_text("512 tokens of context")
    expect(page.get_by_label("Temperature", exact=True)).to_have_attribute("placeholder", "0.35")
    expect(page.get_by_role("combobox", name="Model")).to_have_value("toy-alias")


def test_the_page_is_used_by_keys_alone(page, engine):
    engine.says("word " * 90, step_seconds=0.02)
    page.locator("#messages").focus()
    page.keyboard.press("/")
    page.keyboard.type("Go on")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("and on")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".turn.user .text")).to_have_text("Go on\nand on")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")

    page.keyboard.press("Escape")

    expect(page.locator(".turn.assistant .tools > .note")).to_have_text("stopped")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_stop_ends_the_engines_work_and_keeps_the_text(page, engine):
    engine.says("word " * 90, step_seconds=0.02)
    send(page, "Go on")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")

    page.get_by_role("button", name="Stop").click()

    expect(page.get_by_role("button", name="Send")).to_be_visible()
    expect(page.locator(".turn.assistant .tools > .note")).to_have_text("stopped")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")
    end = time.monotonic() + 10
    while engine.started[-1] not in engine.aborted and time.monotonic() < end:
        page.wait_for_timeout(20)
    assert engine.started[-1] in engine.aborted


def test_an_answer_is_text_and_never_markup(page, engine):
    engine.says("<img src=x onerror='window.hacked=1'><script>window.hacked=1</script> `<b>x</b>`\n\n"
                "```html\n<i>y</i>\n```\n# <u>z</u>")

    ask(page, "<b>mine</b>")

    assert page.locator("#turns, #conversations").locator("img, script, b, i, u").count() == 0
    assert page.evaluate("window.hacked") is None
    expect(page.locator(".turn.user .text")).to_have_text("<b>mine</b>")
    expect(page.locator(".turn pre code")).to_have_text("<i>y</i>")
    expect(page.locator(".turn p").first).to_contain_text("onerror='window.hacked=1'")


def test_an_example_is_a_way_to_begin(page, engine):
    page.get_by_role("button", name="What is 27 + 38?").click()

    expect(texts(page)).to_have_text(["What is 27 + 38?", "Hello, world"])
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_text("What shall we weave?")).to_be_visible()


def test_the_page_asks_for_a_key_where_one_is_needed_and_keeps_it_in_the_tab_unless_asked(open_page, start_server):
    page = open_page(start_server(FakeEngine("Welcome"), api_key=("secret",)))
    expect(page.get_by_role("alert")).to_have_text("This server asks for an API key.")

    page.get_by_label("This server asks for a key").fill("wrong")
    page.get_by_role("button", name="Use").click()
    page.get_by_label("The server does not know this key").fill("secret")
    page.get_by_role("button", name="Use").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("toy")
    ask(page, "Hi")

    expect(page.locator(".turn.assistant .text")).to_have_text("Welcome")
    assert page.evaluate("[sessionStorage['weft-key'], localStorage['weft-key']]") == ["secret", None]
    page.evaluate("document.getElementById('key-card').hidden = false")
    page.locator("#key").fill("secret")
    page.get_by_label("Remember it in this browser").check()
    page.get_by_role("button", name="Use").click()
    assert page.evaluate("localStorage['weft-key']") == "secret"


def test_after_an_error_the_servers_words_are_told_and_the_text_is_in_the_box_again(page):
    send(page, "long " * 200)

    expect(page.get_by_role("alert")).to_contain_text("512")
    expect(page.get_by_label("Your message")).to_have_value(("long " * 200).strip())
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#conversations li")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_a_browser_that_keeps_nothing_still_chats(browser, url, engine):
    engine.says("Hello, world")
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("""
        Object.defineProperty(window, "indexedDB", { get() { throw new Error("It is switched off."); } });
        localStorage.setItem("weft-settings", "{broken");
        localStorage.setItem = () => { throw new Error("no room"); };""")
    page.goto(url)
    expect(page.get_by_role("alert")).to_contain_text("does not keep conversations: It is switched off.")
    page.get_by_label("Seed").fill("7")

    ask(page, "Hi")

    expect(texts(page)).to_have_text(["Hi", "Hello, world"])
    expect(page.locator("#conversations li")).to_have_count(1)
    assert engine.params.seed == 7
    context.close()


def test_a_model_without_a_chat_says_so(open_page, start_server):
    page = open_page(start_server(FakeEngine(tokenizer=False)))

    page.get_by_role("link", name="continue a text").click()

    expect(page.get_by_label("A text to continue")).to_be_visible()


def test_an_error_in_the_middle_of_an_answer_leaves_what_had_come(open_page, start_server):
    engine = FakeEngine("Half an answer", fail_at=6, error=RuntimeError("a fault"))
    page = open_page(start_server(engine))

    ask(page, "Hi")

    expect(page.get_by_role("alert")).to_contain_text("the server's log says why")
    expect(page.locator(".turn.assistant .text p").first).to_have_text("Half a")
    expect(page.locator(".turn.assistant .nothing")).to_contain_text("the server's log says why")
    expect(page.locator(".turn.assistant .tools > .note")).to_have_text("failed")


def test_the_page_asks_nobody_but_its_server(page):
    ask(page, "Hi")

    assert len(page.urls) >= 8
    assert [url for url in page.urls if not url.startswith((page.base, "data:"))] == []


def test_every_control_has_a_name(page):
    ask(page, "Hi")

    nameless = page.evaluate("""[...document.querySelectorAll("button, input, select, textarea")].filter(
        (node) => !(node.labels?.length || node.ariaLabel || node.textContent.trim())).map((node) => node.outerHTML)""")
    assert nameless == []


def test_settings_and_colours_outlive_a_reload(open_page):
    page = open_page(color_scheme="light")
    page.get_by_label("Seed").fill("42")
    page.get_by_role("button", name="Switch between light and dark").click()

    page.reload()

    expect(page.get_by_label("Seed")).to_have_value("42")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("Seed")).to_have_value("")


def test_a_conversation_can_be_taken_to_the_command_line(open_page, engine):
    engine.says("Hello")
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page, "It's me")

    page.get_by_role("button", name="Copy as curl").click()

    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith(f"curl {page.base}/v1/chat/completions")
    assert "It'\\''s me" in command and "Hello" not in command


def test_all_texts_stand_out_from_what_lies_behind_them(page):
    page.get_by_label("Probabilities of tokens").check()
    ask(page, "Hi")
    page.get_by_role("button", name="Tokens").click()
    page.locator(".token").first.click()
    page.get_by_label("Top p", exact=True).fill("9")
    send(page, "Hi")
    expect(page.get_by_role("alert")).to_be_visible()

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for view in ("Complete", "Engine", "Chat"):
            page.get_by_role("link", name=view).click()
            expect(page.locator("html")).to_have_attribute("data-theme", scheme)
            assert page.evaluate(LOW_CONTRAST) == []


def test_the_page_fits_a_phone_and_a_desk_in_light_and_dark(page, engine, screenshots):
    engine.says("A thread that crosses the **warp** is the weft.\n\n- over\n- `under`\n\n```\n" + "wide" * 40)
    ask(page, "What is a weft?")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        page.set_viewport_size({"width": 1440, "height": 900})
        page.screenshot(path=screenshots / f"chat-desk-{scheme}.png")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=screenshots / f"chat-phone-{scheme}.png")

        expect(page.get_by_label("System prompt")).to_be_hidden()
        page.get_by_role("button", name="Settings and figures").click()
        expect(page.get_by_label("System prompt")).to_be_visible()
        expect(page.locator("main")).to_have_js_property("inert", True)
        expect(page.locator("summary", has_text="Settings")).to_be_focused()
        page.screenshot(path=screenshots / f"panel-phone-{scheme}.png")
        page.get_by_role("button", name="Conversations").click()
        expect(page.get_by_label("System prompt")).to_be_hidden()
        expect(page.get_by_role("button", name="New chat")).to_be_visible()
        page.screenshot(path=screenshots / f"list-phone-{scheme}.png")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="New chat")).to_be_hidden()
