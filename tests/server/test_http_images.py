"""Images in conversations over HTTP: answers are those of `LLM.chat`, and a wrong image is one error that names it."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import httpx
import pytest
from file_server import file_server, redirect
from http_server import running_server
from tiny_vision import picture, write_llava

from weft import LLM, SamplingParams
from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.server.options import ServerOptions

COUNT = 6
GREEDY = {"max_tokens": COUNT, "temperature": 0, "ignore_eos": True}
CHAT, WHERE = "/v1/chat/completions", "messages[0].content[1].image_url"


def file_of(number, kind="PNG", **options):
    """An image file as bytes."""
    file = io.BytesIO()
    picture(number).save(file, kind, **options)
    return file.getvalue()


def text64(data):
    return base64.b64encode(data).decode()


def url_of(data, media_type="image/png"):
    return f"data:{media_type};base64,{text64(data)}"


def image(data, media_type="image/png"):
    return {"type": "image_url", "image_url": {"url": url_of(data, media_type)}}


def text(words):
    return {"type": "text", "text": words}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def png_header(width, height):
    """The beginning of a PNG file of such a size, without pixels."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llava")
    write_llava(directory)
    return directory


@pytest.fixture(scope="module")
def wanted(llava, links):
    """{name: (token ids of the prompt, of the answer, its text)} as `LLM.chat` gives them."""
    chats = {"one": user(text("w1 w2"), {"type": "image_pil", "image_pil": picture(0)}),
             "two": user({"type": "image_pil", "image_pil": picture(1)}, text("w3"),
                         {"type": "image_pil", "image_pil": picture(0)}),
             "other": user(text("w1 w2"), {"type": "image_pil", "image_pil": picture(1)}),
            "named": user(text("w1 w2"), {"type": "image_pil", "image_pil": picture(0), "uuid": "mine"}),
            "same name": user(text("w1 w2"), {"type": "image_pil", "image_pil": picture(1), "uuid": "mine"}),
            "url": user(text("w1 w2"), image(file_of(0))),
            "link": user(text("w1 w2"), {"type": "image_url", "image_url": {"url": links["a.png"]}})}
    with LLM(model=str(llava), dtype="float32", max_model_len=96, num_threads=1, use_tqdm_on_load=False,
             allowed_media_networks=["127.0.0.1"]) as llm:
        outputs = llm.chat(list(chats.values()), SamplingParams(**GREEDY), use_tqdm=False)
    return {name: (output.prompt_token_ids, list(output.outputs[0].token_ids), output.outputs[0].text)
            for name, output in zip(chats, outputs, strict=True)}


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """{name: URL of the image 0, or of what is none}."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.png").write_bytes(file_of(0))
    answers = {"/a.png": file_of(0), "/there": redirect("/a.png"), "/text": b"hello", "/cut": file_of(0)[:-600],
               "/private": redirect("http://10.0.0.1/"), "/bomb": png_header(60000, 60000)}
    with file_server(answers) as (url, _):
        yield {"folder": str(folder), "file": f"file://{folder}/a.png", "outside": f"file://{folder}/../x",
               "private host": "http://127.0.0.2/a.png", "none": url + "/none",
               "user": url.replace("://", "://a@") + "/a.png"} | {path[1:]: url + path for path in answers}


@pytest.fixture(scope="module")
def client(llava, links):
    engine = AsyncLLM.from_engine_args(EngineArgs(
        model=str(llava), dtype="float32", max_model_len=96, num_threads=1, kv_cache_memory_bytes=2**20,
        served_model_name=("eyes",), limit_mm_per_prompt={"image": 2}, allowed_media_networks=("127.0.0.1",),
        allowed_local_media_path=links["folder"]))
    try:
        options = ServerOptions(dev_mode=True)
        with running_server(engine, options) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        engine.shutdown()


def chat(client, messages, **fields):
    response = client.post(CHAT, json={"messages": messages, "return_token_ids": True} | GREEDY | fields)
    assert response.status_code == 200, response.text
    return response


def events(response):
    lines = [line[len("data: "):] for line in response.text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_a_file_in_a_chat_of_python_is_the_image_itself(wanted):
    assert wanted["url"] == wanted["link"] == wanted["one"] == wanted["named"] == wanted["same name"]
    assert wanted["two"][1] != wanted["one"][1]


@pytest.mark.parametrize(("name", "parts"), [
    ("one", (text("w1 w2"), image(file_of(0)))),
    ("one", (text("w1 w2"), image(file_of(0, "WEBP", lossless=True), "image/webp"))),
    ("two", (image(file_of(1)), text("w3"), image(file_of(0))))], ids=["png", "webp", "two"])
def test_an_answer_is_that_of_a_chat_in_python(client, wanted, name, parts):
    found = chat(client, user(*parts)).json()

    assert (found["prompt_token_ids"], found["choices"][0]["token_ids"]) == wanted[name][:2]
    assert found["usage"]["prompt_tokens"] == len(wanted[name][0])


def test_a_uuid_names_an_image_until_the_caches_are_emptied(client, wanted):
    def ids(number, **name):
        found = chat(client, user(text("w1 w2"), image(file_of(number)) | name)).json()
        return found["choices"][0]["token_ids"]

    assert ids(0, uuid="mine") == ids(1, uuid="mine") == wanted["one"][1]
    assert ids(1) == ids(1, uuid=None) == wanted["other"][1] != wanted["one"][1]
    for path in ("/reset_encoder_cache", "/reset_mm_cache", "/reset_prefix_cache"):
        assert client.post(path).json() == {"success": True}

    assert ids(1, uuid="mine") == wanted["other"][1]


@pytest.mark.parametrize("uuid", ["", 5, ["a"]])
def test_a_uuid_that_is_no_name_is_refused(client, uuid):
    error = client.post(CHAT, json={"messages": user(image(file_of(0)) | {"uuid": uuid})}).json()["error"]

    assert (error["code"], error["param"]) == (400, "messages.0.content.0.uuid")


def test_a_stream_has_the_same_tokens(client, wanted):
    response = chat(client, user(text("w1 w2"), image(file_of(0))), stream=True)

    choices = [choice for event in events(response) for choice in event["choices"]]
    assert [token for choice in choices for token in choice.get("token_ids") or ()] == wanted["one"][1]


def test_anthropics_and_openais_other_route_take_the_same_image(client, wanted):
    source = {"type": "base64", "media_type": "image/png", "data": text64(file_of(0))}
    message = client.post("/v1/messages", json={"messages": user(text("w1 w2"), {"type": "image", "source": source}),
                                                "model": "eyes"} | GREEDY).json()
    count = client.post("/v1/messages/count_tokens", json={
        "messages": user(text("w1 w2"), {"type": "image", "source": source}), "model": "eyes"}).json()
    parts = [{"type": "input_text", "text": "w1 w2"}, {"type": "input_image", "image_url": url_of(file_of(0))}]
    response = client.post("/v1/responses", json={"input": user(*parts), "max_output_tokens": COUNT, "temperature": 0,
                                                  "ignore_eos": True}).json()

    said = [message["content"][0]["text"], response["output"][0]["content"][0]["text"]]
    assert said == [wanted["one"][2]] * 2
    inputs = message["usage"]["input_tokens"] + message["usage"]["cache_read_input_tokens"]
    assert inputs == count["input_tokens"] == response["usage"]["input_tokens"] == len(wanted["one"][0])


def test_a_response_goes_on_from_one_with_an_image(client):
    parts = [{"type": "input_text", "text": "w1"}, {"type": "input_image", "image_url": url_of(file_of(0))}]
    body = {"max_output_tokens": 2, "temperature": 0, "ignore_eos": True}
    first = client.post("/v1/responses", json={"input": user(*parts)} | body).json()

    second = client.post("/v1/responses", json={"input": "w2", "previous_response_id": first["id"]} | body).json()

    assert second["usage"]["input_tokens"] == first["usage"]["total_tokens"] + 1


def test_a_file_that_lies_on_its_side_stands_upright(client):
    side, upright = io.BytesIO(), io.BytesIO()
    turned = picture(0).rotate(90, expand=True)
    exif = turned.getexif()
    exif[0x0112] = 6                                       # orientation: turn by 90 degrees clockwise
    turned.save(side, "PNG", exif=exif)
    picture(0).save(upright, "PNG")

    first, second = (chat(client, user(text("w1 w2"), image(file.getvalue()))).json() for file in (side, upright))

    assert first["choices"][0]["token_ids"] == second["choices"][0]["token_ids"]


BAD = {
    "no base64": {"url": "data:image/png;base64,!!"}, "spaces": {"url": url_of(file_of(0))[:-8] + " \n"},
    "empty": {"url": "data:image/png;base64,"}, "text": {"url": url_of(b"hello")}, "no file": {"url": "hello"},
    "cut short": {"url": url_of(file_of(0)[:-600])}, "header alone": {"url": url_of(file_of(0)[:20])},
    "mislabelled": {"url": url_of(file_of(0, "JPEG"))}, "other format": {"url": url_of(file_of(0, "BMP"), "image/bmp")},
    "another in disguise": {"url": url_of(file_of(0, "TIFF"))}, "svg": {"url": url_of(b"<svg/>", "image/svg+xml")},
    "no type": {"url": "data:;base64,AAAA"}, "no width": {"url": url_of(png_header(0, 5))},
    "large": {"url": url_of(png_header(9000, 9000))}, "larger": {"url": url_of(png_header(12000, 12000))},
    "bomb": {"url": url_of(png_header(60000, 60000))}, "none": None, "no url": {}, "a number": {"url": 5},
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_bad_image_is_one_error_that_names_its_part_and_the_next_request_runs(client, wanted, kind, stream):
    part = {"type": "image_url", "image_url": BAD[kind]}

    response = client.post(CHAT, json={"messages": user(text("w1"), part), "stream": stream} | GREEDY)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages.0.content.1.image_url"), error
    assert error["message"].startswith(WHERE)
    assert not any(word in error["message"] for word in ("0x", "BytesIO", "PIL", "Error", "site-packages"))
    assert chat(client, user(text("w1 w2"), image(file_of(0)))).json()["choices"][0]["token_ids"] == wanted["one"][1]


@pytest.mark.parametrize("name", ["a.png", "there", "file"])
def test_an_image_by_url_is_the_image_itself(client, links, wanted, name):
    part = {"type": "image_url", "image_url": {"url": links[name]}}

    assert chat(client, user(text("w1 w2"), part)).json()["choices"][0]["token_ids"] == wanted["one"][1]


def test_the_other_routes_take_urls_too(client, links, wanted):
    source = {"type": "url", "url": links["a.png"]}
    message = client.post("/v1/messages", json={"messages": user(text("w1 w2"), {"type": "image", "source": source}),
                                                "model": "eyes"} | GREEDY).json()
    parts = [{"type": "input_text", "text": "w1 w2"}, {"type": "input_image", "image_url": links["a.png"]}]
    response = client.post("/v1/responses", json={"input": user(*parts), "max_output_tokens": COUNT, "temperature": 0,
                                                  "ignore_eos": True}).json()

    assert [message["content"][0]["text"], response["output"][0]["content"][0]["text"]] == [wanted["one"][2]] * 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", ["text", "cut", "bomb", "private", "outside", "private host", "none", "user"])
def test_a_url_without_an_image_is_one_error_that_names_its_part(client, links, wanted, name):
    parts = [text("w1"), {"type": "image_url", "image_url": {"url": links[name]}},
             {"type": "image_url", "image_url": {"url": links["a.png"]}}]

    response = client.post(CHAT, json={"messages": user(*parts)} | GREEDY)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages.0.content.1.image_url"), error
    assert error["message"].startswith(WHERE)
    assert not any(word in error["message"] for word in ("0x", "PIL", "Error", "10.0.0.1"))
    assert chat(client, user(text("w1 w2"), image(file_of(0)))).json()["choices"][0]["token_ids"] == wanted["one"][1]


def test_no_more_is_fetched_than_a_prompt_may_have(client):
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}

    response = client.post(CHAT, json={"messages": user(*[part] * 3)} | GREEDY)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
    assert "at most 2, as limit_mm_per_prompt says" in response.text


def test_the_limit_of_images_holds(client):
    response = client.post(CHAT, json={"messages": user(*[image(file_of(0))] * 3)} | GREEDY)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
    assert "at most 2, as limit_mm_per_prompt says" in response.text


def test_a_placeholder_in_the_text_is_refused_without_words_of_another_library(client):
    response = client.post(CHAT, json={"messages": user(text("w1 <image>"), image(file_of(0)))} | GREEDY)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
    assert "Error" not in response.json()["error"]["message"]


def test_copies_of_an_image_for_many_answers_are_bounded(client):
    response = client.post(CHAT, json={"messages": user(image(file_of(0))), "n": 16384, "max_tokens": 1})

    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


@pytest.mark.parametrize(("path", "body", "place"), [
    (CHAT, {"messages": user(text("a"), image(file_of(0)))}, "messages[0].content[1].image_url"),
    (CHAT, {"messages": user(text("a"), {"type": "image_url", "image_url": {"url": "http://x"}})},
     "messages[0].content[1].image_url"),
    ("/tokenize", {"messages": user(image(file_of(0)))}, "messages[0].content[0].image_url"),
    ("/v1/responses", {"input": user({"type": "input_image", "image_url": url_of(file_of(0))})},
     "input.0.content.0.image_url"),
    ("/v1/messages", {"max_tokens": 3, "messages": user({"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": text64(file_of(0))}})}, "messages.0.content.0.source")])
def test_a_text_model_takes_no_images(shared_url, path, body, place):
    response = httpx.post(shared_url + path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(f"{place} = 'an image': expected text alone")


@pytest.mark.parametrize("part", [{"type": "video_url", "video_url": {}}, {"type": "image_pil", "image_pil": "x"}])
def test_other_media_are_not_built(client, part):
    error = client.post(CHAT, json={"messages": user(part)}).json()["error"]

    assert (error["code"], error["param"]) == (501, "messages.0.content.0.type")
