"""The playground's page for models that pool: similarities of texts, and how well they fit a query."""

from __future__ import annotations

import pytest
import torch
from http_server import running_server
from playground_page import LOW_CONTRAST
from playwright.sync_api import expect
from tiny_encoders import MAX_LEN, token_states, write_encoder
from tiny_poolers import write_model
from torch.nn import functional as F
from toy_engine import save_tokenizer
from word_tokenizer import save_word_tokenizer

from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

TEXTS = ["Bread is baked from <b>flour</b>.", "Iron is smelted from ore.", "A fox runs."]
QUERY = "How is bread made?"


def served(path, **values):
    return AsyncLLM.from_engine_args(EngineArgs(model=str(path), num_threads=1, dtype="float32",
                                                use_tqdm_on_load=False, served_model_name=("tiny",), **values))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    model = write_encoder(path)
    save_tokenizer(path)
    return path, model


@pytest.fixture(scope="module")
def embedder_url(encoder, browser):
    engine = served(encoder[0])
    with running_server(engine, ServerOptions()) as url:
        yield url
    engine.shutdown()


@pytest.fixture
def compare(open_page, embedder_url):
    return open_page(embedder_url, viewport={"width": 1280, "height": 900})


def cosine(encoder, one: str, other: str) -> float:
    first, second = (F.normalize(token_states(encoder[1], list(text.encode()))[0], dim=-1) for text in (one, other))
    return float(first @ second)


def fill(page, query: str = QUERY) -> None:
    page.get_by_label("Texts, one a line").fill("\n".join(TEXTS) + "\n\n")
    page.get_by_label("A query").fill(query)


def test_a_model_that_pools_has_this_page_first_and_no_chat(compare):
    expect(compare.get_by_label("Texts, one a line")).to_be_visible()
    expect(compare.locator("nav.views a:visible")).to_have_text(["Compare", "Engine"])


def test_a_model_that_only_generates_has_none(page):
    expect(page.locator("#context")).to_have_text("512 tokens of context")
    expect(page.locator("nav.views a:visible")).to_have_text(["Chat", "Complete", "Engine"])

    page.goto(f"{page.base}/#compare")

    expect(page.get_by_label("Your message")).to_be_visible()


def test_texts_are_compared_with_each_other_and_ranked(compare, encoder):
    fill(compare)
    compare.get_by_role("button", name="Compare").click()

    cells = compare.locator(".matrix td[id]")
    expect(cells).to_have_text([f"{cosine(encoder, one, other):.2f}" for one in TEXTS for other in TEXTS])
    scores = sorted(((cosine(encoder, QUERY, text), text) for text in TEXTS), reverse=True)
    expect(compare.locator("#ranking .ranked-text")).to_have_text([text for _, text in scores])
    expect(compare.locator("#ranking .share")).to_have_text([f"{score:.3f}" for score, _ in scores])


def test_without_a_query_nothing_is_ranked(compare):
    fill(compare, query="")
    compare.get_by_label("Texts, one a line").press("Control+Enter")

    expect(compare.get_by_role("region", name="Similarity")).to_be_visible()
    expect(compare.get_by_role("region", name="Ranking")).to_be_hidden()


def test_the_page_is_used_by_keys_alone(compare, encoder):
    compare.locator("body").press("/")
    compare.keyboard.insert_text("\n".join(TEXTS))
    compare.keyboard.press("Tab")
    compare.keyboard.insert_text(QUERY)
    compare.keyboard.press("Enter")
    expect(compare.get_by_role("grid", name="Similarities")).to_be_visible()
    compare.keyboard.press("Tab")
    compare.keyboard.press("Tab")
    expect(compare.get_by_role("grid", name="Similarities")).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "ArrowUp"):
        compare.keyboard.press(key)

    alike = f"{cosine(encoder, TEXTS[0], TEXTS[1]):.4f}"
    expect(compare.locator(".pair > *")).to_have_text([alike, TEXTS[0], TEXTS[1]])
    expect(compare.locator(".matrix [aria-selected]")).to_have_id("cell-0-1")


def test_texts_and_query_outlive_a_reload(compare):
    fill(compare)
    compare.reload()

    expect(compare.get_by_label("Texts, one a line")).to_have_value("\n".join(TEXTS) + "\n\n")
    expect(compare.get_by_label("A query")).to_have_value(QUERY)


def test_an_error_stands_at_the_text_that_is_wrong(compare):
    compare.get_by_label("Texts, one a line").fill("A fox\n" + "long " * 60)
    compare.get_by_role("button", name="Compare").click()

    expect(compare.locator(".field-error")).to_contain_text("input.1")
    expect(compare.get_by_label("Texts, one a line")).to_be_focused()
    expect(compare.get_by_role("button", name="Compare")).to_be_enabled()


def test_more_texts_than_can_be_read_are_ranked_and_the_first_are_drawn(compare):
    compare.get_by_label("Texts, one a line").fill("\n".join(f"text {i}" for i in range(60)))
    compare.get_by_label("A query").fill("text")
    compare.get_by_role("button", name="Compare").click()

    expect(compare.locator("#ranking li")).to_have_count(60)
    expect(compare.locator(".matrix tbody tr")).to_have_count(50)
    expect(compare.locator("#left-out")).to_have_text("The first 50 of 60 texts.")


def test_the_page_fits_a_phone_and_a_desk_in_light_and_dark(compare, screenshots):
    fill(compare)
    compare.get_by_role("button", name="Compare").click()
    expect(compare.get_by_role("grid", name="Similarities")).to_be_visible()
    for scheme in ("light", "dark"):
        compare.emulate_media(color_scheme=scheme)
        expect(compare.locator("html")).to_have_attribute("data-theme", scheme)
        for name, width in (("desk", 1440), ("phone", 390)):
            compare.set_viewport_size({"width": width, "height": 900})
            assert compare.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert compare.evaluate(LOW_CONTRAST) == []
            compare.screenshot(path=screenshots / f"compare-{name}-{scheme}.png", full_page=True)


def test_a_reranker_ranks_and_draws_no_similarities(tmp_path, open_page):
    write_model(tmp_path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    save_word_tokenizer(tmp_path)
    engine = served(tmp_path)
    try:
        with running_server(engine, ServerOptions()) as url:
            page = open_page(url)
            fill(page, query="")
            page.get_by_role("button", name="Compare").click()
            expect(page.get_by_label("A query")).to_have_js_property("validity.valueMissing", True)
            fill(page)
            page.get_by_role("button", name="Compare").click()

            expect(page.locator("#ranking li")).to_have_count(3)
            expect(page.get_by_role("region", name="Similarity")).to_be_hidden()
    finally:
        engine.shutdown()


def test_cosines_of_vectors_of_any_length(page):
    found = page.evaluate("""async () => {
      const { cosines } = await import("/playground/matrix.js");
      return cosines([[2, 0], [3, 3], [0, 0]]);
    }""")
    assert torch.tensor(found).allclose(torch.tensor([[1, 0.5**0.5, 0], [0.5**0.5, 1, 0], [0, 0, 0]]))
