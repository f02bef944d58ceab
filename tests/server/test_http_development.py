"""The routes of development mode over a toy engine in its child process."""

from __future__ import annotations

import threading

import httpx
import psutil
import pytest
from http_server import ONE_BY_ONE, running_server
from toy_engine import SLOW_CORE, make_config, save_tokenizer
from waiting import until

from weft.async_llm import AsyncLLM
from weft.engine.process.spare import Spare
from weft.server.options import ServerOptions
from weft.server.routes import ROUTES


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    tokenizer = save_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    engine = AsyncLLM(make_config(tokenizer, max_model_len=20_000), Spare(SLOW_CORE))
    yield engine
    engine.shutdown()


@pytest.fixture(scope="module")
def client(engine):
    options = ServerOptions(dev_mode=True, enable_tokenizer_info_endpoint=True)
    with running_server(engine, options) as url, httpx.Client(base_url=url, timeout=60, limits=ONE_BY_ONE) as client:
        yield client


class Asked:
    """A completion that is asked for in a thread."""

    def __init__(self, client: httpx.Client, **fields) -> None:
        self.answer: httpx.Response | None = None
        self._work = threading.Thread(target=self._ask, args=(client, fields))
        self._work.start()

    def _ask(self, client: httpx.Client, fields) -> None:
        self.answer = client.post("/v1/completions", json={"prompt": "abc", "max_tokens": 3, "temperature": 0} | fields)

    def choice(self) -> dict:
        self._work.join()
        assert self.answer is not None
        return self.answer.json()["choices"][0]


def until_load(client: httpx.Client, load: int) -> None:
    until(lambda: client.get("/load").json() == {"server_load": load})


def test_without_development_mode_its_routes_are_a_404_that_says_so(engine):
    with running_server(engine, ServerOptions()) as url:
        off = [route for route in ROUTES if route.option == "--dev-mode"]
        assert len(off) == 12
        for route in off:
            answer = httpx.request(route.method, url + route.path)
            assert answer.status_code == 404 and "--dev-mode" in answer.json()["error"]["message"], route.path
        assert "--enable-tokenizer-info-endpoint" in httpx.get(url + "/tokenizer_info").json()["error"]["message"]


def test_a_paused_server_holds_requests_until_it_is_resumed(client):
    assert client.post("/pause").json() == {"status": "paused"}
    held = Asked(client)
    until_load(client, 1)
    assert client.get("/is_paused").json() == {"is_paused": True}
    assert held.answer is None

    assert client.post("/resume").json() == {"status": "resumed"}

    assert held.choice()["text"] == "def"
    assert client.get("/is_paused").json() == {"is_paused": False}


def test_a_sleeping_server_holds_requests_until_it_wakes_up(client):
    assert client.post("/sleep?level=1").json() == {"status": "sleeping"}
    held = Asked(client)
    until_load(client, 1)
    assert client.get("/is_sleeping").json() == {"is_sleeping": True}

    assert client.post("/wake_up?tags=weights").json() == {"status": "sleeping"}
    assert held.answer is None
    assert client.post("/wake_up?tags=kv_cache").json() == {"status": "awake"}

    assert held.choice()["text"] == "def"
    assert client.get("/is_sleeping").json() == {"is_sleeping": False}


def test_an_engine_that_sleeps_without_weights_has_no_process_until_it_wakes_up(client, engine):
    before = psutil.Process(engine._client.pid)
    assert client.post("/sleep?level=2").json() == {"status": "sleeping"}
    assert not before.is_running() and engine._client.pid is None
    assert engine.sleep_state == "discard_all" and engine.stalled(0.0) is None
    assert client.get("/health").status_code == 200
    assert client.post("/collective_rpc", json={"method": "x"}).status_code == 503
    held = Asked(client)
    until_load(client, 1)
    assert client.post("/sleep?level=2").json() == {"status": "sleeping"}      # a second time

    assert client.post("/wake_up?tags=kv_cache").json() == {"status": "sleeping"}
    assert engine._client.pid is None and held.answer is None
    assert client.post("/wake_up").json() == {"status": "awake"}

    assert held.choice()["text"] == "def"


@pytest.mark.parametrize("path, status, field", [
    ("/pause?mode=soon", 400, "mode"), ("/pause?mode=keep", 501, "mode"), ("/pause?clear_cache=x", 400, "clear_cache"),
    ("/sleep?level=3", 400, "level"), ("/sleep?level=x", 400, "level"), ("/wake_up?tags=brain", 400, "tags"),
    ("/sleep?mode=keep", 501, "mode")])
def test_a_wrong_query_is_named_and_changes_nothing(client, path, status, field):
    answer = client.post(path)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field)
    assert client.get("/is_paused").json() == {"is_paused": False}
    assert client.get("/is_sleeping").json() == {"is_sleeping": False}


@pytest.mark.parametrize("name", ["mine", "cmpl-mine"])
def test_requests_are_aborted_by_the_clients_or_the_responses_id(client, name):
    running = Asked(client, request_id="mine", max_tokens=None, ignore_eos=True)
    other = Asked(client, request_id="other", max_tokens=2)

    assert until(lambda: client.post("/abort_requests", json={"request_ids": [name, "unknown"]}).json()["aborted"]) == 1
    assert running.choice()["finish_reason"] == "abort"
    assert other.choice()["finish_reason"] == "length"


def test_the_prefix_cache_is_forgotten(client):
    assert client.post("/reset_prefix_cache").json() == {"success": True}


@pytest.mark.parametrize("form, kind", [("text", str), ("json", dict)])
def test_the_server_tells_its_config_machine_and_engine(client, form, kind):
    info = client.get(f"/server_info?config_format={form}").json()

    assert isinstance(info["weft_config"], kind) and "max_num_seqs" in str(info["weft_config"])
    assert info["engine"]["max_model_len"] == 20_000 and info["machine"]["num_cores"]
    assert client.get("/server_info?config_format=xml").json()["error"]["param"] == "config_format"


def test_a_method_of_the_worker_is_called_by_name_only(client):
    answer = client.post("/collective_rpc", json={"method": "echo", "args": [1, "x"], "kwargs": {"a": None}})
    refused = client.post("/collective_rpc", json={"method": "os:getcwd"})

    assert answer.json() == {"results": [["echo", [1, "x"], {"a": None}]]}
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "method")


def test_the_tokenizer_is_shown_without_places_of_files(client, engine):
    info = client.get("/tokenizer_info").json()

    assert info["eos_token"] == "<|end|>" and info["vocab_size"] == 259
    assert "<|im_start|>" in info["chat_template"] and info["tokenizer_class"]
    assert engine.config.tokenizer.path not in str(info)
