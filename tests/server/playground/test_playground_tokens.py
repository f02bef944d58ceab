"""Tokens and their probabilities on the playground, in chats and in plain completions.

The engine's tokens are bytes. It gives the sampled one 28.7 % (rank 2), "a" 60.7 % and "z" nothing.
"""

from __future__ import annotations

from playground_page import ask, reload
from playwright.sync_api import expect


def show_tokens(page) -> None:
    page.get_by_label("Probabilities of tokens").check()


def test_an_answers_tokens_show_their_probabilities_and_alternatives(page, engine, screenshots):
    engine.says("H\n<")
    show_tokens(page)
    ask(page, "Hi")

    page.get_by_role("button", name="Tokens").click()

    expect(page.locator(".token")).to_have_text(["H", "↵\n", "<", "<|end|>"])
    expect(page.locator(".token").first).to_have_attribute("title", "H  28.7 %")
    page.locator(".token").first.click()
    expect(page.locator(".token-detail li")).to_have_text(["a60.7 %", "H28.7 %", "z0 %"])
    expect(page.locator(".token-detail .chosen")).to_have_text("H28.7 %")
    expect(page.locator(".token-detail p")).to_have_text("All others together: 10.7 %")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token-detail h2")).to_have_text("Token 3 of 4")
    expect(page.locator(".token-detail .chosen code")).to_have_text("<")
    for name, width in (("phone", 390), ("desk", 1280)):
        page.set_viewport_size({"width": width, "height": 844})
        page.screenshot(path=screenshots / f"tokens-{name}.png")
    assert engine.params.logprobs == 5

    reload(page)
    page.get_by_role("button", name="Tokens").click()
    page.get_by_role("button", name="Tokens").click()
    expect(page.locator(".turn.assistant > .text")).to_have_text("H <")


def test_without_the_setting_no_probabilities_are_asked_for(page, engine):
    ask(page, "Hi")

    assert engine.params.logprobs is None
    expect(page.get_by_role("button", name="Tokens")).to_have_count(0)


def test_a_text_is_continued_and_continued_again(page, engine):
    engine.says(" upon a <b>time</b>", " there was")
    page.get_by_role("link", name="Complete").click()
    page.get_by_label("A text to continue").fill("Once")
    page.keyboard.press("Control+Enter")

    expect(page.locator("#continued")).to_have_text(" upon a <b>time</b>", use_inner_text=True)
    expect(page.locator("#finish")).to_have_text("complete")
    assert engine.params.max_tokens == 128
    page.get_by_role("button", name="Add it to the text").click()
    expect(page.get_by_label("A text to continue")).to_have_value("Once upon a <b>time</b>")
    page.get_by_label("Max tokens").fill("4")
    page.get_by_role("button", name="Continue the text").click()
    expect(page.locator("#continued")).to_have_text(" the", use_inner_text=True)
    assert engine.prompt_texts() == ["Once", "Once upon a <b>time</b>"]
    page.reload()
    expect(page.get_by_label("A text to continue")).to_have_value("Once upon a <b>time</b>")


def test_a_completion_shows_the_tokens_of_its_prompt_too(page, engine):
    engine.says("!")
    show_tokens(page)
    page.get_by_role("link", name="Complete").click()
    page.get_by_label("A text to continue").fill("Hm")
    page.get_by_label("with the prompt's tokens").check()
    page.get_by_role("button", name="Continue the text").click()

    expect(page.locator(".token")).to_have_text(["H", "m", "!", "<|end|>"])
    page.locator(".token").nth(0).click()
    expect(page.locator(".token-detail p")).to_have_text("The first token of a prompt has no probability.")
    page.locator(".token").nth(1).click()
    expect(page.locator(".token-detail .chosen")).to_have_text("m28.7 %")


def test_a_completion_is_stopped_by_a_key_or_a_button(page, engine):
    engine.says("word " * 90, step_seconds=0.02)
    page.get_by_role("link", name="Complete").click()
    page.get_by_label("A text to continue").fill("Go")
    for stop in (lambda: page.keyboard.press("Escape"), page.get_by_role("button", name="Stop").click):
        page.get_by_role("button", name="Continue the text").click()
        expect(page.locator("#continued")).to_contain_text("word word")

        stop()

        expect(page.get_by_role("button", name="Continue the text")).to_be_enabled()
        expect(page.locator("#finish")).to_have_text("stopped")


def test_an_error_about_a_completion_is_at_its_field(page):
    page.get_by_role("link", name="Complete").click()
    page.get_by_label("A text to continue").fill("Go")
    page.get_by_label("Top p", exact=True).fill("7")
    page.get_by_role("button", name="Continue the text").click()

    expect(page.locator(".field-error")).to_contain_text("top_p = 7")
    expect(page.get_by_label("A text to continue")).to_have_value("Go")
