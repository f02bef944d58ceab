"""Conversations on the playground: kept in the browser, edited, branched, deleted, taken to a file and back."""

from __future__ import annotations

import json

from playground_page import ask, reload, send, texts
from playwright.sync_api import expect

TREE = """async () => {
  const tree = await import("/playground/tree.js");
  const one = tree.newConversation(), texts = () => tree.path(one).map(({ content }) => content);
  const add = (parent, content) => tree.add(one, parent?.id ?? null, { role: "user", content });
  const a = add(null, "a"), b = add(a, "b"), c = add(b, "c"), d = add(a, "d"), e = add(d, "e");
  const seen = [texts()];
  tree.choose(one, b); seen.push(texts());
  tree.remove(one, b); seen.push(texts(), one.messages.map(({ content }) => content), one.chosen);
  return [seen, [a.id, d.id, e.id]];
}"""


def turn(page, text: str):
    return page.locator(".turn").filter(has_text=text)


def act(page, name: str) -> None:
    """Press a button of the list, which shows it where the pointer is."""
    page.locator("#conversations li").first.hover()
    page.get_by_role("button", name=name).click()


def edit(page, text: str, changed: str) -> None:
    turn(page, text).hover()
    turn(page, text).get_by_role("button", name="Edit").click()
    page.get_by_label("Change the message").fill(changed)


def test_a_tree_shows_the_chosen_branch_and_the_one_beside_a_deleted_one(page):
    seen, (a, d, e) = page.evaluate(TREE)

    assert seen == [["a", "d", "e"], ["a", "b", "c"], ["a", "d", "e"], ["a", "d", "e"], {"root": a, a: d, d: e}]


def test_conversations_outlive_a_reload_and_are_listed_by_their_first_message(page, engine):
    ask(page, "The first one")
    page.get_by_role("button", name="New chat").click()
    ask(page, "The second one")

    reload(page)

    expect(texts(page)).to_have_text(["The second one", "Hello, world"])
    expect(page.locator("#conversations .title")).to_have_text(["The second one", "The first one"])
    page.get_by_role("button", name="The first one", exact=True).click()
    expect(texts(page)).to_have_text(["The first one", "Hello, world"])
    ask(page, "Go on")
    assert "The first one" in engine.prompt_texts()[-1]


def test_an_answer_that_a_reload_cut_is_kept_as_far_as_it_had_come(page, engine):
    engine.says("word " * 200, step_seconds=0.01)
    send(page, "Go on")
    page.wait_for_timeout(1500)

    reload(page)

    expect(page.locator(".turn.assistant .text")).to_contain_text("word word")
    expect(page.locator(".turn.assistant .tools > .note")).to_have_text("stopped")


def test_an_edited_question_is_a_branch_beside_the_old_one(page, engine):
    engine.says("One", "Two", "Three")
    ask(page, "First")
    ask(page, "Second")

    edit(page, "First", "Other")
    page.keyboard.press("Control+Enter")

    expect(texts(page)).to_have_text(["Other", "Three"])
    assert "First" not in engine.prompt_texts()[-1]
    page.get_by_role("button", name="Previous version").click()
    expect(texts(page)).to_have_text(["First", "One", "Second", "Two"])
    expect(page.locator(".branches .note")).to_have_text("1 / 2")
    page.get_by_role("button", name="Next version").press("Enter")
    expect(texts(page)).to_have_text(["Other", "Three"])
    reload(page)
    expect(texts(page)).to_have_text(["Other", "Three"])


def test_a_changed_answer_is_what_the_model_reads(page, engine):
    ask(page, "First")

    edit(page, "Hello, world", "Changed")
    page.get_by_role("button", name="Save").click()

    expect(texts(page)).to_have_text(["First", "Changed"])
    ask(page, "Second")
    assert "assistant\nChanged<|im_end|>" in engine.prompt_texts()[-1]


def test_escape_leaves_a_message_as_it_was(page):
    ask(page, "First")

    edit(page, "First", "Other")
    page.keyboard.press("Escape")

    expect(texts(page)).to_have_text(["First", "Hello, world"])


def test_an_answer_made_again_is_a_version_beside_the_old_one(page, engine):
    engine.says("One", "Two")
    ask(page, "First")

    page.get_by_role("button", name="Regenerate").click()

    expect(texts(page)).to_have_text(["First", "Two"])
    assert engine.prompts[0] == engine.prompts[1]
    page.get_by_role("button", name="Previous version").click()
    expect(texts(page)).to_have_text(["First", "One"])


def test_a_deleted_message_takes_the_later_ones_along_and_can_come_back(page):
    ask(page, "First")
    ask(page, "Second")

    turn(page, "Second").hover()
    turn(page, "Second").get_by_role("button", name="Delete").click()
    expect(texts(page)).to_have_text(["First", "Hello, world"])
    page.get_by_role("button", name="Undo").click()

    expect(texts(page)).to_have_text(["First", "Hello, world", "Second", "Hello, world"])


def test_a_conversation_is_renamed_and_deleted_and_comes_back(page):
    ask(page, "First")
    act(page, "Rename: First")
    page.get_by_label("Name of the conversation").fill("Fine <b>name</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations .title")).to_have_text(["Fine <b>name</b>"])

    act(page, "Delete: Fine <b>name</b>")
    expect(page.locator("#conversations li")).to_have_count(0)
    expect(page.locator(".turn")).to_have_count(0)
    reload(page)
    expect(page.locator("#conversations li")).to_have_count(0)
    ask(page, "Second")
    act(page, "Delete: Second")
    page.get_by_role("button", name="Undo").click()

    expect(texts(page)).to_have_text(["Second", "Hello, world"])
    expect(page.locator("#conversations .title")).to_have_text(["Second"])


def test_a_deleted_conversation_ends_its_answer_and_stays_deleted(page, engine):
    engine.says("word " * 90, step_seconds=0.02)
    send(page, "Go on")
    expect(page.locator(".turn.assistant .text")).to_contain_text("word")

    act(page, "Delete: Go on")

    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.wait_for_timeout(100)
    reload(page)
    expect(page.locator("#no-conversations")).to_be_visible()


def test_a_tab_that_is_looked_at_again_shows_what_another_one_changed(page):
    ask(page, "First")
    other = page.context.new_page()
    other.goto(page.base)
    ask(other, "Second")

    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator("#conversations .title")).to_have_text(["Second", "First"])
    expect(texts(page)).to_have_text(["First", "Hello, world"])
    act(other, "Delete: Second")
    expect(other.locator("#conversations .title")).to_have_text(["First"])
    other.locator("#conversations .title").click()
    act(other, "Delete: First")
    reload(other)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#no-conversations")).to_be_visible()
    expect(page.locator(".turn")).to_have_count(0)


def test_two_conversations_are_answered_at_a_time(page, engine):
    engine.says("slow " * 60, "Quick", step_seconds=0.02)
    send(page, "First")
    expect(page.locator(".turn.assistant .text")).to_contain_text("slow")
    page.get_by_role("button", name="New chat").click()

    ask(page, "Second")

    expect(texts(page)).to_have_text(["Second", "Quick"])
    page.get_by_role("button", name="First", exact=True).click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".turn.assistant .text")).to_contain_text("slow slow")


def test_conversations_go_to_a_file_and_come_back_in_another_browser(page, open_page, tmp_path):
    ask(page, "First")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".branches .note")).to_have_text("2 / 2")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / "conversations.json"
    download.value.save_as(file)

    other = open_page()
    for _ in range(2):
        other.get_by_label("File of conversations").set_input_files(file)

    expect(other.locator("#conversations .title")).to_have_text(["First", "First"])
    other.locator("#conversations .title").first.click()
    expect(texts(other)).to_have_text(["First", "Hello, world"])
    expect(other.locator(".branches .note")).to_have_text("2 / 2")


def test_a_wrong_file_is_refused_by_the_name_of_its_field(page):
    question = {"id": "a", "parent": None, "role": "user", "content": "Hi"}
    answer = {"id": "b", "parent": "a", "role": "assistant", "content": "Yes"}
    wrong = {
        'format = "other": expected "weft-conversations"': {"format": "other"},
        'messages.1.parent = "x"': file_of(question, answer | {"parent": "x"}),
        'messages.0.role = "root"': file_of(question | {"role": "root"}),
        "messages.0.content = 3: expected a text": file_of(question | {"content": 3}),
        'messages.1.id = "a"': file_of(question, answer | {"id": "a"}),
    }
    for error, data in wrong.items():
        file = {"name": "file.json", "mimeType": "application/json", "buffer": json.dumps(data).encode()}
        page.get_by_label("File of conversations").set_input_files(file)

        expect(page.get_by_role("alert")).to_contain_text(error)
        expect(page.locator("#conversations li")).to_have_count(0)


def file_of(*messages) -> dict:
    return {"format": "weft-conversations", "version": 1,
            "conversations": [{"id": "one", "title": "", "messages": messages, "chosen": {}}]}
