"""Several models behind one server: loaded when a request names them, unloaded when idle, within one memory budget."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from fake_loader import FakeLoader
from http_server import running_pool

from weft.config.engine_args import EngineArgs
from weft.engine.process.messages import EngineStats
from weft.errors import ConfigError, EngineDeadError, MemoryPlanError, QueueFullError
from weft.server.app import build_app
from weft.server.errors import ApiError
from weft.server.model_pool import serving
from weft.server.model_pool.pool import ModelPool
from weft.server.model_pool.spec import ModelSpec
from weft.server.options import ServerOptions
from weft.server.run import Server

OPTIONS = ServerOptions(dev_mode=True, enable_tokenizer_info_endpoint=True)


def make_pool(loader: FakeLoader, *names: str, load_timeout: float = 10.0, keep_alive: float = math.inf,
              **args) -> ModelPool:
    specs = [ModelSpec(names=(name,), args=EngineArgs(name, **args), options=OPTIONS, keep_alive=keep_alive)
             for name in names]
    return ModelPool(specs, loader, load_timeout=load_timeout)


@contextlib.asynccontextmanager
async def used(pool: ModelPool, name: str, **limits):
    """The loaded model, in use within the block."""
    entry = pool.find(name)
    pool.hold(entry)
    try:
        yield await pool.ready(entry, **limits)
    finally:
        pool.release(entry)


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def states(pool: ModelPool) -> dict[str, str]:
    return {entry.name: entry.state for entry in pool.entries}


def test_requests_that_come_while_a_model_is_loaded_share_one_load():
    async def main() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        pool = make_pool(loader, "a", "b")
        waiting = [asyncio.create_task(pool.ready(pool.find("a"))) for _ in range(3)]
        await until(lambda: loader.started)
        assert states(pool) == {"a": "loading", "b": "unloaded"}

        loader.gate.set()

        assert len({id(served) for served in await asyncio.gather(*waiting)}) == 1
        assert loader.started == [("a", None)]          # alone, so its own memory plan is the limit
        assert states(pool) == {"a": "loaded", "b": "unloaded"}

    asyncio.run(main())


@pytest.mark.parametrize("end", ["a load", "an unload"])
def test_a_request_that_comes_while_the_last_step_of_a_load_or_an_unload_runs_is_answered(end, monkeypatch):
    async def main() -> None:
        pool = make_pool(FakeLoader(), "a")
        entry = pool.find("a")
        if end == "an unload":
            await pool.ready(entry)
        came = []
        last = "loaded" if end == "a load" else "has_left"
        monkeypatch.setattr(entry, last, lambda *args, do=getattr(entry, last): (
            do(*args), came.append(asyncio.get_running_loop().create_task(pool.ready(entry)))))
        await (pool.ready(entry) if end == "a load" else pool.unload(entry))
        assert (await came[0]) is entry.served is not None

    # An event loop that is never given back ends by no timeout of its own.
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("the event loop was not given back"))
    signal.alarm(20)
    try:
        asyncio.run(main())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_an_idle_model_is_unloaded_after_its_time_and_a_request_loads_it_again():
    async def main() -> None:
        loader = FakeLoader()
        pool = make_pool(loader, "a", keep_alive=0.01)
        async with used(pool, "a") as served:
            await asyncio.sleep(0.05)                   # in use for longer than that
            assert states(pool) == {"a": "loaded"}
        await until(lambda: states(pool) == {"a": "unloaded"} and served.engine.is_down)
        async with used(pool, "a") as again:
            assert again is not served
        assert [name for name, _ in loader.started] == ["a", "a"]

    asyncio.run(main())


def test_a_paused_model_stays_and_its_time_begins_with_the_request_that_resumes_it():
    async def main() -> None:
        pool = make_pool(FakeLoader(), "a", keep_alive=0)
        async with used(pool, "a") as served:
            served.engine.is_held = True
        await asyncio.sleep(0.01)
        assert pool.find("a").timer is None and states(pool) == {"a": "loaded"}       # nobody looks again and again
        async with used(pool, "a"):
            served.engine.is_held = False
        await until(lambda: states(pool) == {"a": "unloaded"})

    asyncio.run(main())


def test_models_that_are_loaded_at_start_share_the_budget_and_are_unloaded_when_idle():
    loader = FakeLoader({"a": 40, "b": 40})
    specs = [ModelSpec(names=(name,), args=EngineArgs(name), options=OPTIONS, keep_alive=0.01,
                       loads_at_start=name != "c") for name in "abc"]
    pool = ModelPool(specs, loader)

    pool.load_first()

    assert loader.started == [("a", None), ("b", 60)]
    assert states(pool) == {"a": "loaded", "b": "loaded", "c": "unloaded"}

    async def main() -> None:
        pool.begin()
        await until(lambda: states(pool) == dict.fromkeys("abc", "unloaded"))

    asyncio.run(main())


def test_the_model_that_was_idle_longest_makes_room():
    async def main() -> None:
        pool = make_pool(loader := FakeLoader(dict(a=40, b=40, c=30), budget_bytes=100), "a", "b", "c")
        for name in ("a", "b", "a"):
            async with used(pool, name):
                pass
        async with used(pool, "c"):
            assert states(pool) == {"a": "loaded", "b": "unloaded", "c": "loaded"}
        assert loader.started == [("a", None), ("b", 60), ("c", 60)]      # the limit is what the others leave

    asyncio.run(main())


def test_a_model_in_use_is_waited_for_and_then_makes_room():
    async def main() -> None:
        pool = make_pool(FakeLoader(dict(a=80, b=80)), "a", "b")
        async with used(pool, "a"):
            waiting = asyncio.create_task(pool.ready(pool.find("b")))
            await asyncio.sleep(0.02)
            assert states(pool) == {"a": "loaded", "b": "loading"}
        await waiting
        assert states(pool) == {"a": "unloaded", "b": "loaded"}

    asyncio.run(main())


def test_while_a_load_waits_for_room_other_models_are_loaded():
    async def main() -> None:
        pool = make_pool(FakeLoader(dict(a=50, b=80, c=30)), "a", "b", "c")
        async with used(pool, "a"):
            big = asyncio.create_task(pool.ready(pool.find("b")))
            await asyncio.sleep(0.02)
            async with used(pool, "c"):
                assert states(pool) == {"a": "loaded", "b": "loading", "c": "loaded"}
        await big
        assert states(pool) == {"a": "unloaded", "b": "loaded", "c": "unloaded"}

    asyncio.run(main())


def test_the_files_of_weights_are_not_read_in_the_event_loop(monkeypatch):
    readers = []
    monkeypatch.setattr(serving, "fingerprint_of", lambda *_: readers.append(threading.current_thread()))

    async def main() -> None:
        pool = make_pool(FakeLoader(), "a")
        await pool.ready(pool.find("a"))

    asyncio.run(main())

    assert readers and readers[0] is not threading.main_thread()


def test_a_scrape_during_an_unload_counts_the_engines_tokens_once(monkeypatch):
    async def main() -> None:
        pool = make_pool(FakeLoader(), "a")
        entry = pool.find("a")
        served = await pool.ready(entry)
        served.engine.stats = EngineStats(generation_tokens=7)
        seen, scrape = [], threading.Thread(target=lambda: seen.append(entry.stats.generation_tokens))
        restart = entry._total.restart

        def restart_while_scraped() -> None:
            restart()
            scrape.start()
            scrape.join(0.1)

        monkeypatch.setattr(entry._total, "restart", restart_while_scraped)
        await pool.unload(entry)
        scrape.join()
        assert seen == [7]

    asyncio.run(main())


def test_a_model_without_room_is_refused_with_the_numbers():
    async def main() -> None:
        gib = 2**30
        pool = make_pool(FakeLoader(dict(a=3 * gib, b=2 * gib), budget_bytes=4 * gib), "a", "b", load_timeout=0.05)
        async with used(pool, "a"):
            entry = pool.find("b")
            with pytest.raises(ApiError) as refusal:
                await pool._until_ready(entry)

        assert refusal.value.status == 503
        assert refusal.value.message == (
            "The model 'b' needs at least 2.00 GiB. Of the 4.00 GiB for all models 1.00 GiB are free; models in use "
            "hold the rest: a 3.00 GiB.")
        assert entry.recent_failure() is None           # the next request tries anew

    asyncio.run(main())


@pytest.mark.parametrize(("error", "text"), [
    (MemoryPlanError("It needs 7 GiB."), "It needs 7 GiB."),
    (ConfigError("x", "/secret/place", expected="y"), "The server's log says why."),
    (RuntimeError("/secret/place"), "The server's log says why.")])
def test_a_failed_load_is_told_remembered_for_a_while_and_no_matter_of_other_models(error, text):
    async def main() -> None:
        loader = FakeLoader(failures={"a": error})
        pool = make_pool(loader, "a", "b")
        for _ in range(2):
            with pytest.raises(ApiError) as refusal:
                await pool.ready(pool.find("a"))
            assert refusal.value.status == 503 and refusal.value.retry_after
            assert refusal.value.message == f"The model 'a' could not be loaded. {text}"
        await pool.ready(pool.find("b"))
        assert [name for name, _ in loader.started] == ["a", "b"]      # the second request did not try again

        pool.find("a").failure = None
        loader.failures.clear()
        await pool.ready(pool.find("a"))
        assert states(pool) == {"a": "loaded", "b": "loaded"}

    asyncio.run(main())


def test_the_names_of_parsers_are_checked_after_plugins_and_before_the_model_is_loaded():
    async def main() -> None:
        loader = FakeLoader()
        pool = make_pool(loader, "a", reasoning_parser="from-a-plugin")
        with pytest.raises(ApiError):
            await pool.ready(pool.find("a"))
        assert loader.started == [] and "reasoning_parser" in str(pool.find("a").failure.error)

    asyncio.run(main())


def test_so_many_requests_may_wait_and_so_long():
    async def main() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        pool = make_pool(loader, "a", load_timeout=0.1, max_num_queued_reqs=2)
        own, servers = [asyncio.create_task(pool.ready(pool.find("a"), timeout=timeout)) for timeout in (0.05, None)]
        await until(lambda: pool.find("a").num_waiting == 2)
        with pytest.raises(QueueFullError, match="2 requests wait for the model 'a', 2 may"):
            await pool.ready(pool.find("a"))
        for task, status in ((own, 408), (servers, 503)):
            with pytest.raises(ApiError) as refusal:
                await task
            assert refusal.value.status == status

        loader.gate.set()

        await pool.ready(pool.find("a"))
        assert len(loader.started) == 1                 # the load went on without those who had waited

    asyncio.run(main())


def test_an_engine_that_ended_for_good_is_replaced_and_the_others_go_on():
    async def main() -> None:
        pool = make_pool(loader := FakeLoader(), "a", "b")
        for name in ("a", "b"):
            await pool.ready(pool.find(name))
        loader.engines["a"].die("It stays down.")
        pool.drop_dead()
        assert (await pool.ready(pool.find("b"))).engine is loader.engines["b"]
        with pytest.raises(ApiError, match=r"could not be loaded. It stays down."):
            await pool.ready(pool.find("a"))
        assert pool.dead_error is None

        pool.find("a").failure = None                   # as after ten seconds
        assert not (await pool.ready(pool.find("a"))).engine.errored

    asyncio.run(main())


def test_the_only_engines_end_is_the_servers():
    async def main() -> None:
        pool = make_pool(loader := FakeLoader(), "a")
        await pool.ready(pool.find("a"))
        loader.engines["a"].die("It stays down.")
        pool.drop_dead()
        assert str(pool.dead_error) == "It stays down." and not loader.engines["a"].is_down

    asyncio.run(main())


def test_a_closed_pool_loads_nothing_and_a_load_that_ran_is_ended():
    async def main() -> None:
        loader = FakeLoader()
        loader.gate.clear()
        pool = make_pool(loader, "a", "b")
        waiting = asyncio.create_task(pool.ready(pool.find("a")))
        await until(lambda: loader.started)
        pool.close()
        loader.gate.set()
        for name in ("a", "b"):
            with pytest.raises(ApiError, match="The server stops"):
                await (waiting if name == "a" else pool.ready(pool.find(name)))
        assert loader.engines["a"].is_down

    asyncio.run(main())


def test_a_server_that_stops_ends_a_load_that_nobody_waits_for():
    class Loader(FakeLoader):
        is_closed = False

        def close(self) -> None:
            self.is_closed, self.failures["a"] = True, EngineDeadError("The engine process ended.")
            self.gate.set()

    async def main(sock: socket.socket) -> None:
        loader = Loader()
        loader.gate.clear()
        pool = make_pool(loader, "a")
        config = uvicorn.Config(build_app(pool, OPTIONS), lifespan="off", log_level="error", ws="none")
        server = Server(config, pool, 5.0)
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        with pytest.raises(ApiError, match="not loaded within the request's timeout"):
            await pool.ready(pool.find("a"), timeout=0.01)
        server.should_exit = True
        await serving
        assert loader.is_closed

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        asyncio.run(main(sock))


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader(step_seconds=0.002)


@pytest.fixture
def client(loader):
    pool = make_pool(loader, "a", "b", keep_alive=60)
    with running_pool(pool, OPTIONS) as url, httpx.Client(base_url=url, timeout=20) as client:
        yield client


def complete(client: httpx.Client, **body) -> httpx.Response:
    return client.post("/v1/completions", json={"prompt": "Who?", "max_tokens": 20} | body)


def status_of(client: httpx.Client, name: str) -> str:
    return client.get(f"/v1/models/{name}").json()["status"]["value"]


def test_the_name_in_a_request_says_which_model_answers(client, loader):
    assert [card["status"] for card in client.get("/v1/models").json()["data"]] == [{"value": "unloaded"}] * 2
    for name in ("b", "a"):
        answer = complete(client, model=name).json()
        assert (answer["model"], answer["choices"][0]["text"]) == (name, f"I am {name}")
    cards = client.get("/v1/models").json()["data"]
    assert [(card["id"], card["status"], card["max_model_len"]) for card in cards] == [
        ("a", {"value": "loaded"}, 512), ("b", {"value": "loaded"}, 512)]
    assert client.post("/tokenize", json={"model": "b", "prompt": "x"}).json()["count"] == 1
    assert "vocab_size" in client.get("/tokenizer_info?model=a").json()


def test_a_request_must_name_a_model_where_there_are_several(client, loader):
    answer = complete(client)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400, "model is missing: this server has several. There are a, b.")
    answer = complete(client, model="c")
    assert answer.status_code == 404 and "There are a, b." in answer.json()["error"]["message"]
    assert client.post("/sleep").status_code == 400
    assert client.get("/tokenizer_info").status_code == 400
    assert loader.started == []


def test_keep_alive_of_a_request_holds_until_the_next_one_says_otherwise(client):
    assert complete(client, model="a", keep_alive=0).status_code == 200
    while status_of(client, "a") == "loaded":
        pass
    assert complete(client, model="a", keep_alive="1h").status_code == 200
    assert status_of(client, "a") == "loaded"
    error = complete(client, model="a", keep_alive="soon").json()["error"]
    assert (error["code"], error["param"]) == (400, "keep_alive")


def test_a_timeout_in_the_body_of_an_invocation_holds_while_the_model_is_loaded(client, loader):
    loader.gate.clear()
    answer = client.post("/invocations", json={"model": "a", "prompt": "Who?", "timeout": 0.05})
    loader.gate.set()
    assert answer.status_code == 408 and "0.05 s" in answer.json()["error"]["message"]


def test_a_stream_keeps_its_model_loaded_to_its_end(client, loader):
    with client.stream("POST", "/v1/completions", json={"model": "a", "prompt": "Who?", "stream": True,
                                                        "max_tokens": 60, "keep_alive": 0}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert status_of(client, "a") == "loaded" and not loader.engines["a"].is_down
        assert client.post("/models/unload", json={"model": "a"}).status_code == 409
        assert list(lines)[-2] == "data: [DONE]"
    while status_of(client, "a") == "loaded":
        pass


def test_a_response_in_the_background_keeps_its_model_loaded(client, loader):
    assert complete(client, model="a", keep_alive=0.01).status_code == 200
    made = client.post("/v1/responses", json={"model": "a", "input": "Who?", "background": True,
                                              "max_output_tokens": 100}).json()
    while (state := client.get(f"/v1/responses/{made['id']}").json()["status"]) in ("queued", "in_progress"):
        assert not loader.engines["a"].is_down
    assert state in ("completed", "incomplete")


def test_models_are_loaded_and_unloaded_by_name(client, loader):
    assert client.post("/models/load", json={"model": "a"}).json() == {"success": True}
    assert status_of(client, "a") == "loaded"
    assert client.post("/models/unload", json={"model": "a"}).json() == {"success": True}
    assert status_of(client, "a") == "unloaded" and loader.engines["a"].is_down
    assert client.post("/models/unload", json={"model": "a"}).json() == {"success": True}


def test_a_model_that_cannot_be_unloaded_now_is_refused_with_the_reason(client, loader):
    def refusal() -> str:
        answer = client.post("/models/unload", json={"model": "a"})
        assert answer.status_code == 409
        return answer.json()["error"]["message"]

    loader.gate.clear()
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(client.post, "/models/load", json={"model": "a"})
        while status_of(client, "a") != "loading":
            pass
        assert refusal() == "The model 'a' is being loaded: unload it when it is."
        loader.gate.set()
        assert loading.result().json() == {"success": True}
    loader.engines["a"].is_held = True
    assert refusal() == "The model 'a' is paused, or asleep: resume it first."


def test_the_development_routes_act_on_the_named_model(client):
    assert client.post("/reset_prefix_cache?model=a").status_code == 409
    complete(client, model="a")
    assert client.post("/reset_prefix_cache?model=a").json() == {"success": True}
    assert client.post("/reset_prefix_cache").status_code == 400
    assert client.post("/abort_requests", json={"request_ids": ["none"]}).json() == {"aborted": 0}


def test_metrics_have_each_models_name_also_after_it_was_unloaded(client):
    for name in ("a", "b", "a"):
        complete(client, model=name)
    client.post("/models/unload", json={"model": "a"})
    lines = set(client.get("/metrics").text.splitlines())

    def has(*wanted: str) -> bool:
        return lines.issuperset(wanted)

    assert has('weft:request_success_total{engine="0",finished_reason="stop",model_name="a"} 2.0',
               'weft:request_success_total{engine="0",finished_reason="stop",model_name="b"} 1.0')
    assert has('weft:model_loaded{engine="0",model_name="a"} 0.0', 'weft:model_loaded{engine="0",model_name="b"} 1.0',
               'weft:model_memory_bytes{engine="0",model_name="a"} 0.0',
               'weft:model_memory_bytes{engine="0",model_name="b"} 10.0',
               'weft:model_loads_total{engine="0",model_name="a",outcome="ok"} 1.0')
    assert len([line for line in lines if line.startswith("# TYPE weft:request_success_total ")]) == 1


def test_health_names_the_model_that_stands_still(client, loader):
    assert client.get("/health").status_code == 200
    complete(client, model="b")
    loader.engines["b"].stalled = lambda limit_s: "Nothing moves."

    answer = client.get("/health")

    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "b: Nothing moves.")


def test_health_is_good_as_soon_as_the_engine_of_one_of_several_models_has_ended(client, loader):
    for name in ("a", "b"):
        complete(client, model=name)
    loader.engines["a"].die("It stays down.")

    assert client.get("/health").status_code == 200
    assert status_of(client, "a") == "unloaded" and status_of(client, "b") == "loaded"
