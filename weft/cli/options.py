"""Engine options on the command line, generated from the fields of `EngineArgs` and from `UNBUILT`.

This module adds only a group and a help text for each field; the fields give types and defaults.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from weft.cli.environment import cpu_isa, kv_cache_memory_bytes, plugins, vllm_version
from weft.cli.flags import add_fields, given
from weft.cli.parser import MergeAction, Parser, human_int, json_or_text
from weft.config.engine_args import UNBUILT, EngineArgs

GROUPS: dict[str, dict[str, str]] = {
    "model": {
        "model": "checkpoint directory, .gguf file or hub name; none: the model that comes with weft",
        "model_file": "Python file that describes or programs the model; FILE.py:Class names one of its classes",
        "model_class": "class of a programmed model: module:Class or file.py:Class",
        "model_impl": "auto or native",
        "runner": "auto (what the model is for), generate or pooling: an error where the model is for the other",
        "dtype": "auto, float32, float16 or bfloat16",
        "quantization": "int8, int4 or w8a8: how weights are quantized as they are loaded; a method: that of the "
                        "checkpoint's weights, an error if it is another; none: what the checkpoint says",
        "seed": "seed of requests that have none",
        "max_model_len": "longest sequence in tokens; -1: the longest that fits",
        "max_logprobs": "most logprobs that a request may ask for; -1: no limit",
        "logprobs_mode": "raw_logprobs, raw_logits, processed_logprobs or processed_logits",
        "served_model_name": "names that clients may use for the model",
        "tokenizer": "directory or hub name of the tokenizer, where it is not the model's",
        "tokenizer_mode": "auto (by the files there are), hf or mistral",
        "skip_tokenizer_init": "token ids in, token ids out",
        "chat_template": "Jinja template, or the path of one; none: the tokenizer's",
        "generation_config": "sampling defaults: auto (the model's), weft (none), or a directory",
        "override_generation_config": "JSON object put over the generation config",
        "config_format": "auto (by the files there are), hf, mistral, or a name that a parser is registered for",
        "config_parser_file": "Python file that registers a config parser",
        "hf_config_path": "directory or hub name of the config, where it is not the model's",
        "hf_overrides": "JSON object put over config.json; --hf-overrides.key=value sets one key",
        "enable_prompt_embeds": "take prompts as rows of the model's embedding too (prompt_embeds of a completion)",
        "disable_sliding_window": "attend without windows, and limit sequences to the window's length",
        "enforce_eager": "run every step from Python: record none for replay by one native call",
        "revision": "branch, tag or commit on the hub",
        "code_revision": "the revision of config code that comes with a checkpoint",
        "tokenizer_revision": "the tokenizer's branch, tag or commit",
        "trust_remote_code": "let tokenizer and config run code from the checkpoint",
        "plugins": "plugins (entry points of weft.plugins and vllm.general_plugins) to run; none given: all",
        "vllm_version": "vllm.__version__ in plugins and model files that were written for vLLM",
        "vllm_modules": "whose modules `import vllm` gives such files: auto (the installed vLLM's, if any), weft or "
                        "installed",
        "hf_token": "token for the hub",
    },
    "load": {
        "load_format": "auto, safetensors, pt, mistral, gguf or dummy (random weights)",
        "download_dir": "where to keep what comes from the hub",
        "use_tqdm_on_load": "show progress while weights are read",
    },
    "cache": {
        "block_size": "tokens in a block of the cache, a power of two",
        "kv_cache_dtype": "how keys and values are cached: auto (as the model computes), fp8_e4m3, fp8_e5m2 or "
                          "int8_per_token_head",
        "enable_prefix_caching": "reuse cached blocks of prompts that begin alike",
        "kv_cache_memory_bytes": "size of the cache; none: what the memory plan finds",
        "gpu_memory_utilization": "share of the device's memory that the engine may use",
    },
    "scheduler": {
        "max_num_seqs": "most sequences in a step",
        "max_num_batched_tokens": "most tokens in a step",
        "enable_chunked_prefill": "compute long prompts over several steps",
        "long_prefill_token_threshold": "longest piece of one prompt in a step; 0: no limit",
        "scheduling_policy": "fcfs or priority",
        "max_num_queued_reqs": "most waiting requests; more are refused; none: no limit",
        "speculative_config": 'JSON object: tokens are drafted ahead and verified together, e.g. {"method": "ngram", '
                              '"num_speculative_tokens": 5}',
        "num_threads": "threads of the model; none: the cores this process may use",
        "cpu_isa": "highest instruction set of the model's kernels: auto, reference, portable, avx2, avx512, "
                   "avx512_bf16 or amx",
    },
}
SERVING_TOKENS, SERVING_SEQS = 2048, 128     # default limits of a server's step, on CPU
SHORT = {"quantization": "-q", "tensor_parallel_size": "-tp", "pipeline_parallel_size": "-pp",
         "data_parallel_size": "-dp", "enable_expert_parallel": "-ep", "speculative_config": "-sc",
         "compilation_config": "-cc"}
# Flags for single fields of speculative_config: {flag: (field, function that reads its value)}.
SPECULATION = {"--spec-method": ("method", str), "--spec-model": ("model", str),
               "--spec-tokens": ("num_speculative_tokens", human_int)}


def add_engine_options(parser: Parser, *, positional_model: bool = False) -> None:
    """Adds a flag for each field of EngineArgs, a hidden flag for each option in UNBUILT, and --config."""
    if positional_model:
        parser.add_argument("positional_model", metavar="MODEL", nargs="?", help="the same as --model")
    parser.add_argument("--config", metavar="FILE.yaml", help="options from a file; the command line wins")
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for title, helps in GROUPS.items():
        add_fields(groups[title], EngineArgs, helps, SHORT)
    for flag, (name, read) in SPECULATION.items():
        groups["scheduler"].add_argument(
            flag, dest="speculative_config", action=MergeAction, default=argparse.SUPPRESS, type=_field(name, read),
            metavar="X", help=f"the same as --speculative-config.{name}")
    for name, off in UNBUILT.items():
        flags = [flag for flag in (SHORT.get(name), "--" + name.replace("_", "-")) if flag]
        shape: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if isinstance(off, bool) else \
                {"action": MergeAction, "type": json_or_text}
        parser.add_argument(*flags, dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **shape)


def _field(name: str, read: Callable[[str], Any]) -> Callable[[str], dict[str, Any]]:
    def field(text: str) -> dict[str, Any]:
        return {name: read(text)}

    return field


def engine_args(options: argparse.Namespace, *, environ: Mapping[str, str] | None = None) -> EngineArgs:
    """The EngineArgs of a command line.

    environ: environment variables, which give the defaults of some options (default: this process's).
    """
    environ = os.environ if environ is None else environ
    defaults = {"kv_cache_memory_bytes": kv_cache_memory_bytes(environ), "cpu_isa": cpu_isa(environ),
                "plugins": plugins(environ), "vllm_version": vllm_version(environ)}
    chosen: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None}
    chosen |= given(options, EngineArgs)
    chosen |= {name: getattr(options, name) for name in UNBUILT if hasattr(options, name)}
    if getattr(options, "positional_model", None) is not None:
        chosen["model"] = options.positional_model
    return EngineArgs.from_options(**chosen)


def serving_args(options: argparse.Namespace, *, environ: Mapping[str, str] | None = None) -> EngineArgs:
    """As `engine_args`, with a server's defaults: smaller steps, for a shorter time between tokens."""
    args = engine_args(options, environ=environ)
    tokens = args.max_num_batched_tokens
    if tokens is None and args.enable_chunked_prefill:
        tokens = max(SERVING_TOKENS, args.max_num_seqs or 0)
    seqs = args.max_num_seqs or min(SERVING_SEQS, tokens or SERVING_SEQS)
    return replace(args, max_num_batched_tokens=tokens, max_num_seqs=seqs)
