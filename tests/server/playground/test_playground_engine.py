"""The playground's page of the engine: live metrics, latencies, and the model drawn from its description."""

from __future__ import annotations

from playground_page import ask
from playwright.sync_api import expect

from weft.architectures.model_words import LayerWords, ModelWords
from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs

PERCENTILES = """async () => {
  const { buckets, parse, percentile, since, countOf } = await import("/playground/prometheus.js");
  const line = (le, count) => `t_bucket{le="${le}",m="a\\\\"}"} ${count}`;
  const text = (...counts) => ["0.1", "0.5", "+Inf"].map((le, i) => line(le, counts[i])).join("\\n");
  const [one, two] = [text(10, 90, 100), text(10, 190, 200)].map((found) => buckets(parse(found), "t"));
  const rounded = (value) => value === null ? "null" : value.toFixed(3);
  const told = (found) => [0.05, 0.5, 0.9, 0.95, 0.99].map((share) => rounded(percentile(found, share)));
  return [told(one), told(since(two, one)), countOf(since(two, one)), told(since(one, one))];
}"""


def layers(numbers, mixer: str, state: int = 0) -> LayerWords:
    return LayerWords(layers="a few", numbers=tuple(numbers), attention=mixer, positions="rope", ffn="gated silu 512",
                      norms="RMS before", parameters=1_870_000, cache_bytes_per_token=256, state_bytes=state)


def test_percentiles_are_read_from_buckets(page):
    assert page.evaluate(PERCENTILES) == [
        ["0.050", "0.300", "0.500", "Infinity", "Infinity"],
        ["0.120", "0.300", "0.460", "0.480", "0.496"], 100,
        ["null"] * 5]


def test_metrics_are_those_of_the_chosen_model(page):
    found = page.evaluate("""async () => {
      const { ofModel, parse, sum } = await import("/playground/prometheus.js");
      const samples = parse('n{model_name="a"} 1\\nn{model_name="b"} 2\\nother 5');
      const sums = (name) => ["n", "other"].map((one) => sum(ofModel(samples, name), one));
      return ["a", "b", "alias"].map(sums);
    }""")

    assert found == [[1, 5], [2, 5], [3, 5]]


def test_the_page_shows_what_the_engine_does(page, engine, screenshots):
    engine.stats.num_running, engine.stats.num_waiting, engine.stats.kv_cache_usage = 3, 4, 0.25
    engine.stats.prefix_cache_queries, engine.stats.prefix_cache_hits = 200, 50
    ask(page, "Hi")
    page.get_by_role("link", name="Engine").click()

    expect(page.get_by_role("img", name="Requests: running 3, waiting 4")).to_be_visible()
    expect(page.get_by_role("img", name="KV cache: in use 25.0 %, prefix hits 25.0 %")).to_be_visible()
    engine.stats.generation_tokens += 1000
    expect(page.get_by_role("img", name="Tokens per second: generated")).not_to_have_accessible_name(
        "Tokens per second: generated 0, of prompts 0")
    page.get_by_label("of the last minute").select_option("all requests")
    row = page.get_by_role("row", name="Whole request")
    expect(row.get_by_role("cell").last).not_to_have_text("0")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for name, width in (("desk", 1440), ("phone", 390)):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.screenshot(path=screenshots / f"engine-{name}-{scheme}.png")


def test_the_model_is_drawn_from_its_description(open_page, engine, screenshots):
    kinds = (layers([0, 1, 3, 4, 6, 7], "state space of 16", state=4096),
             layers([2, 5, 8], "6 heads, 2 kv heads of 32"))
    engine.info.words = ModelWords("9 layers of 192", "shares the embedding's table", kinds)
    page = open_page()
    page.get_by_role("link", name="Engine").click()

    model = page.get_by_role("region", name="Model")
    expect(model.get_by_role("img")).to_have_accessible_name("9 layers between embedding and head")
    assert [model.locator(f".mixer.kind-{kind}").count() for kind in (0, 1)] == [6, 3]
    expect(model.locator(".kind").nth(0)).to_contain_text("state space of 16")
    expect(model.locator(".kind").nth(0)).to_contain_text("4 KiB a sequence, each")
    expect(model.locator(".kind").nth(1)).to_contain_text("256 B a token, each")
    expect(model.locator(".kind").nth(1)).to_contain_text("1.87 M each")
    expect(model.locator("dl").first).to_contain_text("64 blocks of 16 tokens")
    model.screenshot(path=screenshots / "model.png")


def test_the_model_that_comes_with_weft_does_sums_and_is_drawn(open_page, start_server, screenshots):
    engine = AsyncLLM.from_engine_args(EngineArgs(kv_cache_memory_bytes=2**24, num_threads=1))
    try:
        page = open_page(start_server(engine), viewport={"width": 1280, "height": 800})
        page.get_by_label("Temperature", exact=True).fill("0")
        page.get_by_role("button", name="What is 27 + 38?").click()
        expect(page.locator(".turn.assistant .text")).to_contain_text("65", timeout=30_000)
        expect(page.locator("#finish")).to_have_text("complete")

        page.get_by_role("link", name="Engine").click()

        model = page.get_by_role("region", name="Model")
        expect(model.locator(".mixer")).to_have_count(4)
        expect(model.locator(".kind")).to_contain_text("6 heads, 2 kv heads of 32")
        page.wait_for_timeout(200)
        page.screenshot(path=screenshots / "embedded-engine.png", full_page=True)
    finally:
        engine.shutdown()
