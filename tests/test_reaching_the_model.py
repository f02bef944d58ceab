"""`apply_model` and `collective_rpc` with functions: called in this process, or by name in the engine's."""

import asyncio
from pathlib import Path

import model_functions
import pytest
from model_functions import name_of_type, num_blocks, num_frozen_objects
from tiny_llama import make_checkpoint

from weft import LLM, AsyncLLM, EngineArgs
from weft.errors import ConfigError, WeftError
from weft.extend.named_object import load_named, name_of_function

OPTIONS = {"max_model_len": 64, "num_threads": 1, "use_tqdm_on_load": False}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(make_checkpoint(tmp_path_factory.mktemp("model")))


def test_in_this_process_any_function_will_do(directory, capsys):
    with LLM(directory, **OPTIONS) as llm:
        assert llm.apply_model(lambda m: print(type(m))) == [None]
        plan = llm.collective_rpc("memory_plan")[0]
        assert llm.collective_rpc(lambda worker: worker.memory_plan()) == [plan]
        assert llm.collective_rpc(num_blocks, args=(0,), kwargs={"times": 2}) == [2 * plan["num_blocks"][0]]
        with pytest.raises(AttributeError, match="no method"):
            llm.collective_rpc("_sample")

    assert "weft.models.decoder.Decoder" in capsys.readouterr().out


def test_in_the_engines_process_functions_go_by_name(directory, monkeypatch):
    async def ask():
        llm = AsyncLLM.from_engine_args(EngineArgs(model=directory, **OPTIONS))
        try:
            blocks = (await llm.collective_rpc("memory_plan"))[0]["num_blocks"][0]
            assert await llm.collective_rpc(num_blocks, args=(0,), kwargs={"times": 2}) == [2 * blocks]
            assert await llm.apply_model(name_of_type) == ["Decoder"]
            [num_frozen] = await llm.apply_model(num_frozen_objects)
            assert num_frozen > 10_000      # torch's and the model's: no garbage collection looks at them
            with pytest.raises(ConfigError, match="the engine runs in another process"):
                await llm.apply_model(lambda model: None)
            with pytest.raises(ConfigError, match="the engine runs in another process"):
                await llm.collective_rpc(lambda worker: None)
            with pytest.raises(WeftError, match="no_such_module"):
                await llm.collective_rpc("no_such_module:function")
        finally:
            llm.shutdown()

    monkeypatch.setenv("PYTHONPATH", str(Path(model_functions.__file__).parent), prepend=":")
    asyncio.run(ask())


def test_names_of_functions():
    assert name_of_function(num_blocks, field="f") == "model_functions:num_blocks"
    assert load_named("model_functions:num_blocks", field="f") is num_blocks
    for wrong in (lambda: None, int.bit_length, [].append):
        with pytest.raises(ConfigError, match="f = "):
            name_of_function(wrong, field="f")
    for text in ("model_functions:none", "nowhere.at.all:f", ":f"):
        with pytest.raises(ConfigError, match="f = "):
            load_named(text, field="f")
