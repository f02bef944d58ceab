"""The playground's forms: tools, the form of an answer, and errors at the fields that they are about."""

from __future__ import annotations

import json

from fake_engine import CALL
from playground_page import ask, send, texts
from playwright.sync_api import expect


def add_tool(page, name: str, parameters: str = '{"type": "object"}') -> None:
    if not page.get_by_role("button", name="Add a function").is_visible():
        page.get_by_text("Tools", exact=True).click()
    page.get_by_role("button", name="Add a function").click()
    tool = page.locator(".tool").last
    tool.get_by_label("Name").fill(name)
    tool.get_by_label("What it does").fill("Adds <b>numbers</b>")
    tool.get_by_label("Parameters").fill(parameters)


def test_a_called_tool_is_shown_and_the_users_result_goes_back(page, engine, screenshots):
    engine.says("I add." + CALL, "It is 3.")
    add_tool(page, "add")
    ask(page, "1 + 2?")

    call = page.get_by_role("region", name="Call of add")
    expect(call.locator("pre")).to_have_text(json.dumps({"a": 1, "b": 2}, indent=2))
    expect(page.locator("#finish")).to_have_text("calls tools")
    page.screenshot(path=screenshots / "call.png")
    page.get_by_label("Result of add").fill("3 <i>")
    page.get_by_role("button", name="Continue with the results").click()

    expect(texts(page)).to_have_text(["1 + 2?", "I add.", "3 <i>", "It is 3."])
    assert json.loads(engine.prompt_texts()[0].partition("<|im_start|>")[0]) == [
        {"type": "function", "function": {"name": "add", "description": "Adds <b>numbers</b>",
                                          "parameters": {"type": "object"}}}]
    assert "<|im_start|>tool\n3 <i><|im_end|>" in engine.prompt_texts()[1]
    expect(page.get_by_label("Result of add")).to_have_count(0)


def test_two_calls_have_a_result_each(page, engine):
    engine.says(CALL + CALL, "Done.")
    add_tool(page, "add")
    ask(page, "Twice")

    page.get_by_label("Result of add").nth(0).fill("three")
    page.get_by_label("Result of add").nth(1).fill("four")
    page.get_by_label("Result of add").nth(1).press("Control+Enter")

    expect(texts(page).last).to_have_text("Done.")
    assert "tool\nthree<|im_end|>\n<|im_start|>tool\nfour" in engine.prompt_texts()[1]


def test_tools_are_kept_and_can_be_left_out(page, engine):
    add_tool(page, "add")
    page.reload()
    expect(page.locator(".tool").get_by_label("Name")).to_have_value("add")

    page.get_by_label("Calls").select_option("tools are not sent")
    ask(page, "Hi")
    assert engine.prompt_texts()[-1].startswith("<|im_start|>user")

    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".tool")).to_have_count(0)


def test_a_wrong_function_is_told_at_its_field(page):
    add_tool(page, "add", "{oops")

    send(page, "Hi")

    expect(page.locator(".tool .field-error")).to_contain_text("This is not JSON")
    expect(page.get_by_label("Parameters")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Your message")).to_have_value("Hi")
    page.get_by_label("Parameters").fill("{}")
    page.get_by_label("Name").fill("")
    send(page, "Hi")
    expect(page.locator(".field-error")).to_have_count(1)
    expect(page.locator(".field-error")).to_contain_text("tools.0.function.name = ''")


def test_an_edited_question_that_could_not_be_asked_leaves_no_branch(page):
    ask(page, "First")
    add_tool(page, "add", "{oops")
    turn = page.locator(".turn.user")
    turn.hover()
    turn.get_by_role("button", name="Edit").click()
    page.get_by_label("Change the message").fill("Other")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".tool .field-error")).to_be_visible()
    page.get_by_label("Parameters").fill("{}")

    page.get_by_label("Change the message").press("Control+Enter")

    expect(texts(page)).to_have_text(["Other", "Hello, world"])
    expect(page.locator(".branches .note")).to_have_text("2 / 2")


def test_a_form_is_asked_for(page, engine):
    page.get_by_text("Form of the answer").click()
    for kind, text, field, wanted in (
            ("json_object", None, "json_object", True), ("regex", "a|b", "regex", "a|b"),
            ("json_schema", '{"type": "object"}', "json", {"type": "object"}),
            ("choice", "yes\n\nno", "choice", ["yes", "no"]), ("grammar", 'start: "a"', "grammar", 'start: "a"')):
        page.get_by_label("The answer is").select_option(kind)
        if text is not None:
            page.locator("#form-text").fill(text)
        page.get_by_role("button", name="New chat").click()

        ask(page, "Hi")

        assert getattr(engine.params.structured_outputs, field) == wanted


def test_the_servers_error_about_a_form_is_at_its_field(page, screenshots):
    page.get_by_text("Form of the answer").click()
    page.get_by_label("The answer is").select_option("json_schema")
    page.get_by_label("JSON schema").fill("[1]")

    send(page, "Hi")

    expect(page.locator("#form-field .field-error")).to_contain_text("schema = [1]: expected a JSON schema")
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Go to the field").click()
    expect(page.get_by_label("JSON schema")).to_be_focused()
    page.screenshot(path=screenshots / "field-error-phone.png")
    page.get_by_label("The answer is").select_option("free text")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Send").click()
    expect(texts(page)).to_have_text(["Hi", "Hello, world"])
    expect(page.locator(".field-error")).to_have_count(0)


def test_the_servers_error_about_a_setting_is_at_its_field(page):
    page.get_by_label("Top p", exact=True).fill("7")

    send(page, "Hi")

    expect(page.locator(".field", has=page.locator("#top_p")).locator(".field-error")).to_contain_text("top_p = 7")
