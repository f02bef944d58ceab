"""What people do on the playground's page, for its tests."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

# The visible texts whose colour is too near to what lies behind it: a ratio below 4.5, as WCAG 2.1 (AA) reckons it.
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = (css, below) => {
    for (const fill of [below, css]) { canvas.fillStyle = fill; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (value) => value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const behind = (node) => node ? paint(getComputedStyle(node).backgroundColor, css(behind(node.parentElement)))
    : [255, 255, 255];
  const css = (rgb) => `rgb(${rgb})`;
  const isText = (node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim())
    && node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  return [...document.querySelectorAll("body *")].filter(isText).map((node) => {
    const back = behind(node);
    const [low, high] = [light(back), light(paint(getComputedStyle(node).color, css(back)))].sort((a, b) => a - b);
    return [high / low, node.outerHTML.slice(0, 80)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


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
