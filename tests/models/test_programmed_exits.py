"""Code of a model that leaves with sys.exit or a KeyboardInterrupt, in the engine's process: an error like others."""

import asyncio
from pathlib import Path

import programmed_llama
import pytest
from tiny_llama import make_checkpoint

from weft import AsyncLLM, EngineArgs, SamplingParams
from weft.errors import WeftError

MARK = 77
LEAVING = '''

class Leaving(MyLlama):
    def {method}(self, first, *args, **kwargs):
        if {condition}:
            raise {error}
        return super().{method}(first, *args, **kwargs)
'''
PROMPTS = [[9, 9, MARK], [3, 7, 13, 5], [8, 2, 40]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def engine(directory, tmp_path, **code):
    file = tmp_path / "leaving.py"
    file.write_text(Path(programmed_llama.__file__).read_text() + LEAVING.format(**code))
    return AsyncLLM.from_engine_args(EngineArgs(
        model=str(directory), model_class=f"{file}:Leaving", dtype="float32", max_model_len=64, num_threads=1,
        kv_cache_memory_bytes=1 << 20))


async def answer(llm, number, prompt):
    params = SamplingParams(temperature=0, max_tokens=5, ignore_eos=True)
    return [out async for out in llm.generate({"prompt_token_ids": prompt}, params, f"r{number}")][-1]


@pytest.mark.parametrize("error", ["SystemExit('planted')", "KeyboardInterrupt('planted')",
                                   "__import__('asyncio').CancelledError('planted')"])
def test_in_forward_it_ends_its_request_and_the_engine_goes_on(directory, tmp_path, error):
    llm = engine(directory, tmp_path, method="forward", condition=f"{MARK} in first", error=error)

    async def run():
        together = await asyncio.gather(*(answer(llm, i, prompt) for i, prompt in enumerate(PROMPTS)))
        return together, await answer(llm, 9, PROMPTS[1])

    try:
        (bad, *good), again = asyncio.run(run())
    finally:
        llm.shutdown()

    kind = error.partition("(")[0] if not error.startswith("__") else "CancelledError"
    assert (bad.outputs[0].finish_reason, bad.error) == ("error", f"{kind}: planted")
    assert [(out.outputs[0].finish_reason, len(out.outputs[0].token_ids)) for out in good] == [("length", 5)] * 2
    assert again.outputs[0].token_ids == good[0].outputs[0].token_ids


@pytest.mark.parametrize("error", ["SystemExit('planted')", "KeyboardInterrupt('planted')"])
def test_while_loading_it_is_the_error_of_the_start(directory, tmp_path, error):
    with pytest.raises(WeftError, match=error.replace("('", ": ").replace("')", "")):
        engine(directory, tmp_path, method="load_weights", condition="True", error=error)
