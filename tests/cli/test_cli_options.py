"""Options become EngineArgs and ServerOptions: a flag for every field; files and environment behind them."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import pytest

from weft.cli import serve
from weft.cli.config_file import with_config_file
from weft.cli.main import build_parser
from weft.cli.options import GROUPS, engine_args
from weft.cli.parser import spelled
from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.row import REFUSED
from weft.config.engine_args import EngineArgs
from weft.config.step_limits import SERVING_SEQS, SERVING_TOKENS, with_step_limits
from weft.errors import ConfigError, NotBuiltError
from weft.server.options import ServerOptions

ROOT = Path(__file__).parent.parent.parent


def parsed(*argv: str, command: str = "serve"):
    parser = build_parser(command)
    options, extras = parser.parse_known_args(with_config_file(spelled(argv), parser))
    assert extras == []
    return options


def args_of(*argv: str, environ: dict[str, str] | None = None) -> EngineArgs:
    return engine_args(parsed(*argv), environ=environ or {})


def test_every_field_of_engine_args_has_a_flag_with_help():
    described = {name: text for helps in GROUPS.values() for name, text in helps.items()}

    assert described.keys() == {f.name for f in fields(EngineArgs)}
    assert all(described.values())


def test_every_field_of_server_options_has_a_flag_with_help():
    described = {name: text for helps in serve.GROUPS.values() for name, text in helps.items()}

    assert described.keys() == {f.name for f in fields(ServerOptions)}


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    """stderr is a terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def test_without_a_terminal_no_bar_shows_progress(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)

    assert not args_of().use_tqdm_on_load
    assert args_of("--use-tqdm-on-load").use_tqdm_on_load


def test_no_option_gives_the_defaults_of_the_dataclasses():
    assert args_of() == EngineArgs()
    assert serve.server_options(parsed(), {}) == ServerOptions()


def test_flags_have_the_types_of_their_fields():
    args = args_of("DIR", "--max-model-len", "4K", "--no-enable-prefix-caching", "--gpu-memory-utilization", "0.5",
                   "--served-model-name", "a", "b", "--hf-overrides", '{"x": 1}', "--hf-overrides.y.z=2",
                   "--dtype", "bf16")

    assert args == EngineArgs(model="DIR", max_model_len=4096, enable_prefix_caching=False, gpu_memory_utilization=0.5,
                              served_model_name=("a", "b"), hf_overrides={"x": 1, "y": {"z": 2}}, dtype="bfloat16")


@pytest.mark.parametrize("given", [
    ("--speculative-config", '{"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}'),
    ("-sc", '{"method": "ngram", "num_speculative_tokens": 5}', "--speculative-config.prompt_lookup_max=4"),
    ("--speculative-config.method", "ngram", "--speculative-config.num_speculative_tokens=5",
     "--speculative-config.prompt_lookup_max=4"),
    ("--spec-method", "ngram", "--spec-tokens", "5", "-sc", '{"prompt_lookup_max": 4}'),
])
def test_speculation_is_an_object_whole_or_key_by_key(given):
    assert args_of(*given).speculative_config == {
        "method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4}


@pytest.mark.parametrize(("given", "error"), [
    ('{"method": "eagle3", "num_speculative_tokens": 5}', NotBuiltError),
    ('{"method": "ngram", "num_speculative_tokens": 0}', ConfigError),
])
def test_a_wrong_speculation_is_refused_before_anything_loads(given, error):
    with pytest.raises(error, match=r"^speculative_config\.(method|num_speculative_tokens) = "):
        args_of("--speculative-config", given)


def test_the_model_may_be_an_option_too():
    assert args_of("--model", "DIR").model == "DIR"


@pytest.mark.parametrize("keys", [
    ("--api-key", "a", "--api-key", "b"), ("--api-key", "a", "b"), ("--api-key", '["a", "b"]'),
])
def test_api_keys_may_be_repeated_listed_or_json(keys):
    assert serve.server_options(parsed(*keys), {}).api_key == ("a", "b")


@pytest.mark.parametrize("name", [name for name, option in ENGINE.items() if option.state == REFUSED])
def test_an_option_without_code_is_known_and_refused(name):
    flag = "--" + name.replace("_", "-")
    given = [flag] if any(off is False for off in ENGINE[name].off) else [flag, "7"]

    with pytest.raises(NotBuiltError, match=name):
        args_of(*given)


@pytest.mark.parametrize("given", [
    ("-tp", "1"), ("--kv-cache-dtype", "auto"), ("--no-enable-lora",), ("--runner", "auto"), ("-O3",),
    ("--swap-space", "4"), ("--cudagraph-capture-sizes", "1", "2", "4"), ("--compilation-config.level=3",),
])
def test_the_default_of_an_option_without_code_is_accepted(given):
    assert args_of(*given).max_num_seqs is None


def test_a_server_has_smaller_steps_than_offline_use():
    args = with_step_limits(engine_args(parsed(), environ={}))

    assert (args.max_num_batched_tokens, args.max_num_seqs) == (SERVING_TOKENS, SERVING_SEQS)


@pytest.mark.parametrize(("given", "tokens", "seqs"), [
    (("--max-num-batched-tokens", "64"), 64, 64),              # a sequence needs a token of every step
    (("--max-num-seqs", "4096"), 4096, 4096),
    (("--no-enable-chunked-prefill",), None, SERVING_SEQS),     # whole prompts: the context decides
])
def test_what_the_user_sets_bends_the_servers_defaults(given, tokens, seqs):
    args = with_step_limits(engine_args(parsed(*given), environ={}))

    assert (args.max_num_batched_tokens, args.max_num_seqs) == (tokens, seqs)


def test_a_config_file_stands_behind_the_command_line(tmp_path):
    path = tmp_path / "weft.yaml"
    path.write_text("model: FROM_FILE\nmax_model_len: 4k\nenable-prefix-caching: false\nserved_model_name: [a, b]\n"
                    "hf_overrides: {x: 1}\ndtype: float32\nseed: null\nport: 99\n")

    options = parsed("--config", str(path), "--dtype=float16", "--hf-overrides.y=2", "--port", "98")

    assert engine_args(options, environ={}) == EngineArgs(
        model="FROM_FILE", max_model_len=4000, enable_prefix_caching=False, served_model_name=("a", "b"),
        hf_overrides={"x": 1, "y": 2}, dtype="float16")
    assert serve.server_options(options, {}).port == 98


def test_a_negated_flag_on_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "weft.yaml"
    path.write_text("enforce_eager: true\n")

    assert args_of("--config", str(path), "--no-enforce-eager").enforce_eager is False


def test_an_unknown_key_of_a_config_file_is_named_with_the_file_and_the_nearest_option(tmp_path):
    path = tmp_path / "weft.yaml"
    path.write_text("max_model_length: 4\n")

    with pytest.raises(ConfigError, match=r"max_model_length = 4 \(in .*weft\.yaml\).*max-model-len"):
        args_of("--config", str(path))


@pytest.mark.parametrize(("environ", "expected"), [
    ({"WEFT_CPU_KVCACHE_SPACE": "2"}, 2 * 2 ** 30),
    ({"VLLM_CPU_KVCACHE_SPACE": "0.5"}, 2 ** 29),
    ({"WEFT_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}, 2 ** 30),
    ({"WEFT_CPU_KVCACHE_SPACE": "0"}, None),
])
def test_the_environment_sets_the_size_of_the_cache(environ, expected):
    assert args_of(environ=environ).kv_cache_memory_bytes == expected


def test_the_command_line_wins_over_the_environment():
    args = args_of("--kv-cache-memory-bytes", "1G", environ={"WEFT_CPU_KVCACHE_SPACE": "2"})

    assert args.kv_cache_memory_bytes == 2 ** 30


@pytest.mark.parametrize(("value", "expected"), [("a, b", ("a", "b")), (",", ()), ("", None)])
def test_the_environment_names_the_plugins_unless_an_option_does(value, expected):
    environ = {"WEFT_PLUGINS": value}

    assert args_of(environ=environ).plugins == expected
    assert args_of("--plugins", "c", environ=environ).plugins == ("c",)


def test_the_environment_caps_the_instruction_set_unless_an_option_does():
    environ = {"WEFT_CPU_ISA": "avx2"}

    assert args_of(environ=environ).cpu_isa == "avx2"
    assert args_of("--cpu-isa", "portable", environ=environ).cpu_isa == "portable"


def test_an_instruction_set_that_is_none_is_named_with_where_it_stands():
    with pytest.raises(ConfigError, match=r"WEFT_CPU_ISA = 'sse9' \(in environment\): expected one of auto, reference"):
        args_of(environ={"WEFT_CPU_ISA": "sse9"})
    with pytest.raises(ConfigError, match="cpu_isa = 'sse9': expected one of auto, reference"):
        args_of("--cpu-isa", "sse9")


def test_the_environment_sets_the_api_key_unless_an_option_does():
    environ = {"VLLM_API_KEY": "secret"}

    assert serve.server_options(parsed(), environ).api_key == ("secret",)
    assert serve.server_options(parsed("--api-key", "other"), environ).api_key == ("other",)


def test_the_unit_for_systemd_starts_a_server_with_options_that_there_are():
    folder = ROOT / "examples" / "systemd"
    [command] = [line.removeprefix("ExecStart=") for line in (folder / "weft.service").read_text().splitlines()
                 if line.startswith("ExecStart=")]
    assert command.split() == ["/opt/weft/bin/weft", "serve", "--config", "/etc/weft/serve.yaml"]

    options = parsed("--config", str(folder / "serve.yaml"))

    assert engine_args(options, environ={}).model == "Qwen/Qwen3-0.6B"
    assert serve.server_options(options, {}).shutdown_timeout == 20
