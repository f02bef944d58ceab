"""What people do on the playground's page, for its tests."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def send(page: Page, text: str) -> None:
    """Write a message and send it."""
    page.get_by_label("Your message").fill(text)
    page.get_by_role("button", name="Send").click()


def ask(page: Page, text: str) -> None:
    """Send a message and wait until its answer has ended."""
    send(page, text)
    expect(page.locator(".turn.assistant").last.get_by_role("button", name="Regenerate")).to_be_attached()


def texts(page: Page) -> Locator:
    """The texts of all messages that are shown."""
    return page.locator(".turn > .text")


def reload(page: Page) -> None:
    """Load the page again, once the browser has written what it keeps: reads wait for the writes before them."""
    page.evaluate("import('/playground/store.js').then((store) => store.all()).then(() => null)")
    page.reload()
