"""The playground in a real browser: one browser and one server of a fake engine for each file of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from fake_engine import CHATML, FakeEngine
from http_server import running_server
from playwright.sync_api import expect, sync_playwright

from weft.server.options import ServerOptions

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
TIMEOUT_MS = 20_000      # of a busy machine; a green test does not wait
expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    """The engine of the file's server; `engine.says(…)` sets its answers."""
    return FakeEngine(chat_template="{{ tools | tojson if tools else '' }}" + CHATML, max_logprobs=5,
                      reasoning_parser="qwen3", generation_defaults={"temperature": 0.35, "max_new_tokens": 300})


@pytest.fixture(scope="module")
def url(engine, browser):
    """The file's server."""
    with running_server(engine, ServerOptions(tool_call_parser="hermes")) as url:
        yield url


@pytest.fixture
def open_page(browser, url):
    """open_page(url or None, options of the browser) -> a page, which must have no script errors by the end."""
    contexts, errors = [], []

    def open_page(base=None, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        page.on("request", lambda request: page.urls.append(request.url))
        page.urls = []
        page.base = base or url
        page.goto(page.base)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def page(open_page, engine):
    """A page of a user who was never here, and an engine that says "Hello, world"."""
    engine.says("Hello, world")
    return open_page()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """A folder for pictures of the page, for people to look at."""
    return tmp_path_factory.mktemp("screenshots")
