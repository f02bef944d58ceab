"""The examples of docs/media.md run, and chats take images where the template has a place for them."""

import re
from pathlib import Path

import pytest
from tiny_audio import write_audio_model
from tiny_vision import picture, write_llava
from tiny_whisper import write_whisper

from weft import LLM, SamplingParams
from weft.errors import NotBuiltError, RequestError

PAGE = Path(__file__).parents[2] / "docs" / "media.md"
GREEDY = SamplingParams(temperature=0, max_tokens=5)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    directory = tmp_path_factory.mktemp("llava")
    write_llava(directory)
    return directory


@pytest.fixture(scope="module")
def llm(llava):
    with LLM(model=str(llava), dtype="float32", use_tqdm_on_load=False) as llm:
        yield llm


def examples():
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_of_audio_runs(tmp_path, capsys):
    write_audio_model(tmp_path, "qwen2-audio")
    source = examples()[1].replace("<|AUDIO|>", " <audio> ").replace("Qwen/Qwen2-Audio-7B", str(tmp_path))

    exec(compile(source, "example", "exec"), {"__name__": "example"})

    assert capsys.readouterr().out


def test_the_example_of_speech_runs(tmp_path, capsys):
    write_whisper(tmp_path)
    source = examples()[2].replace("openai/whisper-small", str(tmp_path))

    exec(compile(source, "example", "exec"), {"__name__": "example"})

    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_the_example_of_images_runs(llava, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(0).save("photo.png")
    picture(1).save("chart.png")
    source = examples()[0]

    exec(compile(source.replace("llava-hf/llava-1.5-7b-hf", str(llava)), "example", "exec"), {"__name__": "example"})

    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_a_chat_is_the_prompt_that_its_template_makes(llm):
    parts = [{"type": "image_pil", "image_pil": picture(0)}, {"type": "text", "text": "w1 w2"},
             {"type": "image", "image": picture(1)}]

    (chat,) = llm.chat([{"role": "user", "content": parts}], GREEDY, use_tqdm=False)
    images = {"image": [picture(0), picture(1)]}
    (text,) = llm.generate([{"prompt": "<image> w1 w2 <image> ", "multi_modal_data": images}], GREEDY, use_tqdm=False)

    assert chat.prompt == "<image> w1 w2 <image> "
    assert chat.prompt_token_ids == text.prompt_token_ids
    assert chat.outputs[0].token_ids == text.outputs[0].token_ids


@pytest.mark.parametrize(("part", "error", "field"), [
    ({"type": "image_pil"}, RequestError, r"messages\[0\].content\[0\].image_pil"),
    ({"type": "image_pil", "image_pil": "no"}, RequestError, "multi_modal_data.image"),
    ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}, RequestError,
     r"messages\[0\].content\[0\].image_url"),
    ({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, RequestError,
     r"messages\[0\].content\[0\].image_url"),
    ({"type": "video_url", "video_url": {}}, NotBuiltError, r"content\[0\].type"),
    ({"type": "audio", "audio": [0.5, 0.5]}, RequestError, "takes no clips of audio"),
])
def test_a_wrong_part_is_named(llm, part, error, field):
    with pytest.raises(error, match=field):
        llm.chat([{"role": "user", "content": [part, {"type": "text", "text": "w1"}]}], GREEDY, use_tqdm=False)


def test_a_template_of_strings_has_no_place_for_images(llm):
    template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"

    with pytest.raises(RequestError, match="takes no parts"):
        llm.chat([{"role": "user", "content": [{"type": "image_pil", "image_pil": picture(0)}]}], GREEDY,
                 chat_template=template, use_tqdm=False)
