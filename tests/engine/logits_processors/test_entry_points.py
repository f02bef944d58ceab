"""Logits processors of installed packages run for every model, without an option."""

import pytest
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.errors import ConfigError

SOURCE = """
from vllm.v1.sample.logits_processor import LogitsProcessor

class Only(LogitsProcessor):
    token = {token}

    def __init__(self, vllm_config, device, is_pin_memory):
        pass

    def is_argmax_invariant(self):
        return False

    def update_state(self, batch_update):
        pass

    def apply(self, logits):
        logits[:, self.token] += 1e6
        return logits
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(group, token): a package with a processor that chooses the token, as pip leaves one."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(group, token):
        name = f"only_{token}"
        (tmp_path / f"{name}.py").write_text(SOURCE.format(token=token))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:Only\n")
        return info

    return write


def tokens(directory):
    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    with LLM(str(directory), dtype="float32", max_model_len=64, use_tqdm_on_load=False, num_threads=1) as llm:
        return list(llm.generate({"prompt_token_ids": [1, 2, 3]}, params, use_tqdm=False)[0].outputs[0].token_ids)


@pytest.mark.parametrize("group", ["vllm.logits_processors", "weft.logits_processors"])
def test_one_of_either_group_changes_the_tokens(tmp_path, install, group):
    directory = make_checkpoint(tmp_path / "model")
    assert tokens(directory) != [11, 11, 11]
    install(group, 11)

    assert tokens(directory) == [11, 11, 11]


def test_one_that_cannot_be_loaded_is_an_error_that_names_it(tmp_path, install):
    directory = make_checkpoint(tmp_path / "model")
    (install("vllm.logits_processors", 12) / "entry_points.txt").write_text(
        "[vllm.logits_processors]\nbroken = only_12:Nothing\n")

    with pytest.raises(ConfigError, match=r"entry point broken.*expected a logits processor that can be imported"):
        tokens(directory)
