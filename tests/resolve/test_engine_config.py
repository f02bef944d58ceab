"""From options and machine to a complete EngineConfig."""

import subprocess
import sys

import msgspec
import pytest
from machines import made_machine
from model_dir import write_model

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError
from weft.resolve.engine_config import resolve_engine_config

AVX2 = ("avx2", "fma", "f16c")


def resolve(directory, **options):
    return resolve_engine_config(EngineArgs(model=str(directory), **options), made_machine(flags=AVX2))


def test_a_model_directory_alone_is_enough(tmp_path):
    directory = write_model(tmp_path / "m", dtype="bfloat16")

    config = resolve(directory)

    assert (config.model.name, config.model.path) == (str(directory), str(directory.resolve()))
    assert (config.model.architecture, config.model.dtype) == ("LlamaForCausalLM", "bfloat16")
    assert (config.model.max_model_len, config.model.is_max_model_len_fixed) == (512, False)
    assert (config.model.vocab_size, config.model.eos_token_ids) == (100, (2,))
    assert config.tokenizer.path == str(directory.resolve())
    assert (config.scheduler.max_num_batched_tokens, config.scheduler.max_num_seqs) == (4096, 256)
    assert (config.num_threads, config.served_model_names) == (6, (str(directory),))
    assert (config.cpus, config.cpu_isa) == ((0, 1, 2, 3, 4, 5), "avx2")


def test_options_reach_the_part_they_belong_to(tmp_path):
    config = resolve(write_model(tmp_path), seed=3, max_logprobs=5, block_size=32, enable_prefix_caching=False,
                     kv_cache_memory_bytes=2**20, gpu_memory_utilization=0.5, scheduling_policy="priority",
                     load_format="dummy", use_tqdm_on_load=False, num_threads=1, served_model_name=("a", "b"),
                     max_num_queued_reqs=9, long_prefill_token_threshold=64, trust_remote_code=True,
                     cpu_isa="portable")

    assert (config.model.seed, config.model.max_logprobs) == (3, 5)
    assert (config.cache.block_size, config.cache.enable_prefix_caching) == (32, False)
    assert (config.cache.kv_cache_memory_bytes, config.cache.memory_utilization) == (2**20, 0.5)
    assert (config.scheduler.policy, config.scheduler.max_num_queued_reqs) == ("priority", 9)
    assert config.scheduler.long_prefill_token_threshold == 64
    assert (config.load.load_format, config.load.use_tqdm) == ("dummy", False)
    assert (config.num_threads, config.served_model_names, config.cpu_isa) == (1, ("a", "b"), "portable")
    assert config.tokenizer.trust_remote_code


def test_what_comes_from_the_machine_or_an_option_about_it_has_its_source(tmp_path):
    directory = write_model(tmp_path)

    assert resolve(directory).origins == {
        "num_threads": "test", "cpus": "test", "cpu_isa": "the highest that test allows"}
    assert resolve(directory, num_threads=2, cpu_isa="reference").origins == {
        "num_threads": "option num_threads", "cpus": "test", "cpu_isa": "option cpu_isa"}


def test_a_cap_beyond_the_processor_is_an_error_before_the_model_is_looked_for(tmp_path):
    with pytest.raises(ConfigError, match=r"cpu_isa = 'avx512': .* avx2 or lower\. It lacks avx512f"):
        resolve(tmp_path / "no model here", cpu_isa="avx512")


def test_every_derived_value_has_its_source(tmp_path):
    origins = resolve(write_model(tmp_path), hf_overrides={"dtype": "float16"}, max_model_len=8).model.origins

    assert origins["dtype"] == "override"
    assert origins["max_model_len"] == "option max_model_len"
    assert origins["model_path"] == "local directory"


def test_skip_tokenizer_init_means_no_tokenizer(tmp_path):
    assert resolve(write_model(tmp_path), skip_tokenizer_init=True).tokenizer.path is None


def test_a_chat_template_is_a_text_or_an_existing_file(tmp_path, monkeypatch):
    directory = write_model(tmp_path)
    (tmp_path / "mine.jinja").write_text("{{ messages }}")
    monkeypatch.chdir(tmp_path)

    assert resolve(directory, chat_template="{{ x }}").tokenizer.chat_template == "{{ x }}"
    assert resolve(directory, chat_template="mine.jinja").tokenizer.chat_template == str(tmp_path / "mine.jinja")
    with pytest.raises(ConfigError, match=r"chat_template = 'other\.jinja'"):
        resolve(directory, chat_template="other.jinja")


def test_the_model_file_is_absolute(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("")

    assert resolve(write_model(tmp_path), model_file=str(path)).model.model_file == str(path)


@pytest.mark.parametrize("value", [None, 0, -1, "100", True, 1.5, 2**70])
def test_a_config_without_a_vocabulary_is_an_error(tmp_path, value):
    with pytest.raises(ConfigError, match=r"vocab_size = .*expected an integer from 1 to"):
        resolve(write_model(tmp_path, vocab_size=value))


def test_without_chunked_prefill_a_step_holds_the_longest_prompt(tmp_path):
    directory = write_model(tmp_path, max_position_embeddings=10_000)

    assert resolve(directory, enable_chunked_prefill=False).scheduler.max_num_batched_tokens == 10_000
    with pytest.raises(ConfigError, match="max_num_batched_tokens = 64: expected at least max_model_len = 10000"):
        resolve(directory, enable_chunked_prefill=False, max_num_batched_tokens=64)


def test_a_step_has_a_token_for_each_running_sequence(tmp_path):
    directory = write_model(tmp_path)

    assert resolve(directory, max_num_batched_tokens=64).scheduler.max_num_seqs == 64
    assert resolve(directory, max_num_seqs=5000).scheduler.max_num_batched_tokens == 5000
    with pytest.raises(ConfigError, match="max_num_batched_tokens = 64: expected at least max_num_seqs = 65"):
        resolve(directory, max_num_batched_tokens=64, max_num_seqs=65)


def test_the_config_travels_as_plain_data(tmp_path):
    config = resolve(write_model(tmp_path, rope_scaling={"rope_type": "linear", "factor": 2.0}))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=EngineConfig) == config


def test_resolving_imports_neither_torch_nor_transformers(tmp_path):
    code = ("import sys; from weft.config.engine_args import EngineArgs; from weft.config.machine import Machine; "
            "from weft.resolve.engine_config import resolve_engine_config; "
            f"resolve_engine_config(EngineArgs(model={str(write_model(tmp_path))!r}), Machine.detect()); "
            "print([m for m in ('torch', 'transformers') if m in sys.modules])")

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
