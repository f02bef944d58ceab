"""A folder in Mistral's own format alone, from its files to the answers of `LLM` and of the server."""

from __future__ import annotations

import httpx
import openai
import pytest
import torch
from http_server import running_server
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_files import rewrite
from mistral_kinds import KINDS
from transformers import MistralConfig, MistralForCausalLM

from weft import LLM, SamplingParams
from weft.async_llm import AsyncLLM
from weft.config.engine_args import EngineArgs
from weft.errors import ConfigError
from weft.server.options import ServerOptions

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
PARAMS = SamplingParams(temperature=0.0, max_tokens=12)
OPTIONS = {"num_threads": 1, "kv_cache_memory_bytes": 4 << 20, "max_model_len": 256}


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """(the folder, mistral-common's tokenizer of it)."""
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(3)
    hf = MistralForCausalLM(MistralConfig(
        vocab_size=448, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=256, sliding_window=None, initializer_range=0.3))
    hf.save_pretrained(path / "hf")
    rewrite(path / "hf", path / "mistral")
    return path / "mistral", MistralTokenizer.from_file(str(KINDS[request.param](path / "mistral")))


@pytest.fixture(scope="module")
def llm(model):
    with LLM(model=str(model[0]), use_tqdm_on_load=False, **OPTIONS) as llm:
        yield llm


@pytest.fixture(scope="module")
def client(model):
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(model[0]), served_model_name=("m",), **OPTIONS))
    with running_server(engine, ServerOptions()) as url:
        yield openai.OpenAI(base_url=url + "/v1", api_key="unused", max_retries=0)
    engine.shutdown()


def chat_ids(direct, chat=CHAT):
    return direct.encode_chat_completion(ChatCompletionRequest.from_openai(messages=chat)).tokens


def text_after(direct, prompt, answer):
    """What an answer adds to a prompt's text."""
    known = set(range(direct.instruct_tokenizer.tokenizer.n_words))      # the model has more ids than the tokenizer
    shown = [token_id for token_id in answer if token_id in known]
    return direct.decode(prompt + shown).removeprefix(direct.decode(prompt))


def test_a_chat_is_the_prompt_that_mistral_common_makes(llm, model):
    output = llm.chat(CHAT, PARAMS, use_tqdm=False)[0]

    assert output.prompt_token_ids == chat_ids(model[1])
    answer = output.outputs[0]
    assert answer.text == text_after(model[1], output.prompt_token_ids, answer.token_ids)
    same = llm.generate({"prompt_token_ids": output.prompt_token_ids}, PARAMS, use_tqdm=False)[0]
    assert same.outputs[0].token_ids == answer.token_ids


def test_a_text_begins_with_the_token_that_begins_texts(llm, model):
    output = llm.generate("hello", PARAMS, use_tqdm=False)[0]

    assert output.prompt_token_ids == model[1].instruct_tokenizer.tokenizer.encode("hello", bos=True, eos=False)


def test_the_tokenizers_end_of_text_ends_an_answer(llm, model):
    eos = model[1].instruct_tokenizer.tokenizer.eos_id
    forced = SamplingParams(temperature=0.0, max_tokens=5, allowed_token_ids=[eos])

    answer = llm.generate("hello", forced, use_tqdm=False)[0].outputs[0]

    assert (answer.finish_reason, answer.text) == ("stop", "")


def test_the_tokenizer_that_users_get_encodes_decodes_and_renders(llm, model):
    tokenizer = llm.get_tokenizer()

    assert tokenizer.decode(tokenizer.encode("hello"), skip_special_tokens=True) == "hello"
    assert tokenizer.apply_chat_template(CHAT) == chat_ids(model[1])


def test_the_server_answers_chats_whole_and_as_a_stream(client, llm):
    expected = llm.chat(CHAT, PARAMS, use_tqdm=False)[0]
    options = {"model": "m", "messages": CHAT, "temperature": 0, "max_tokens": 12}

    whole = client.chat.completions.create(**options)
    stream = client.chat.completions.create(**options, stream=True)

    assert whole.choices[0].message.content == expected.outputs[0].text
    assert whole.usage.prompt_tokens == len(expected.prompt_token_ids)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == expected.outputs[0].text


def test_the_server_shows_tools_to_the_tokenizer_and_names_a_message_that_it_refuses(client, model):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    options = {"model": "m", "messages": CHAT, "temperature": 0, "max_tokens": 1}

    with_tools = client.chat.completions.create(**options, tools=tools, tool_choice="none")
    request = ChatCompletionRequest.from_openai(messages=CHAT, tools=tools)
    assert with_tools.usage.prompt_tokens == len(model[1].encode_chat_completion(request).tokens)
    with pytest.raises(openai.BadRequestError, match="Assistant with prefix"):
        client.chat.completions.create(**options | {"messages": [*CHAT, {"role": "assistant", "content": "x"}]})


def test_the_server_tokenizes_chats_and_texts(client, model):
    def tokens(**body):
        return httpx.post(str(client.base_url.join("/tokenize")), json=body).json()["tokens"]

    assert tokens(messages=CHAT) == chat_ids(model[1])
    assert tokens(prompt="hello") == model[1].instruct_tokenizer.tokenizer.encode("hello", bos=True, eos=False)


def test_without_a_tokenizer_the_error_says_what_was_looked_for(model, tmp_path):
    for file in model[0].iterdir():
        if "token" not in file.name and "tekken" not in file.name:
            (tmp_path / file.name).symlink_to(file)

    with pytest.raises(ConfigError, match=r"Looked for tokenizer\.json.*tekken\.json, tokenizer\.model\.v\*"):
        LLM(model=str(tmp_path), **OPTIONS)
