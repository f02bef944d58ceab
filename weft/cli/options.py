"""Engine options on the command line, generated from the fields of `EngineArgs` and from the table of vLLM's options.

This module adds only a group and a help text for each field; the fields give types and defaults. vLLM's other options
(`compat/vllm/options/`) are hidden flags.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Mapping
from typing import Any

from weft.cli.environment import cpu_isa, kv_cache_memory_bytes, plugins, vllm_version
from weft.cli.parser import Parser
from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.row import Option
from weft.config.engine_args import EngineArgs
from weft.config.engine_flags import SHORT, add_option
from weft.config.flags import add_fields, given

GROUPS: dict[str, dict[str, str]] = {
    "model": {
        "model": "checkpoint directory, .gguf file or hub name; none: the model that comes with weft",
        "model_file": "Python file that describes or programs the model; FILE.py:Class names one of its classes",
        "model_class": "class or @architecture function that runs the model: module:Name or file.py:Name",
        "model_impl": "auto (native where weft has the architecture), native or transformers",
        "runner": "auto (what the model is for), generate or pooling: an error where the model is for the other",
        "pooler_config": "how a pooling model pools, where its files should not decide: a JSON object with fields of "
                         "PoolerConfig",
        "convert": "what pooling makes of a model's states: auto (as its name says), none, embed or classify",
        "dtype": "auto, float32, float16 or bfloat16",
        "quantization": "int8, int4, w8a8 or w4a8: how weights are quantized as they are loaded; a method: that of the "
                        "checkpoint's weights, an error if it is another; none: what the checkpoint says",
        "activation_dtype": "int8: quantized weights are multiplied by activations of 8 bits; none: by floats",
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
        "reasoning_parser": "format of the model's reasoning; not given: what the chat template tells; none: off",
        "enable_in_reasoning": "a form of the answer holds from its first token, in its reasoning too",
        "enable_prompt_embeds": "take prompts as rows of the model's embedding too (prompt_embeds of a completion)",
        "limit_mm_per_prompt": 'JSON object: most images of a prompt, e.g. {"image": 2}',
        "mm_processor_kwargs": "JSON object of arguments for the model's processor of images",
        "allowed_local_media_path": "folder whose files clients may name by file: URLs; none: no files",
        "allowed_media_domains": "hosts that media of clients may come from; none: all with public addresses",
        "allowed_media_networks": "networks besides public addresses that clients may reach through weft for media, "
                                  "such as 10.1.0.0/16",
        "media_fetch_timeout": "seconds to fetch one file that a client names by URL",
        "max_image_bytes": "bytes of an image's file",
        "max_image_pixels": "pixels of an image; the files of a prompt together have twice as many at most",
        "disable_sliding_window": "attend without windows, and limit sequences to the window's length",
        "enforce_eager": "run every step from Python: record none for replay by one native call",
        "revision": "branch, tag or commit on the hub",
        "code_revision": "the revision of config code that comes with a checkpoint",
        "tokenizer_revision": "the tokenizer's branch, tag or commit",
        "trust_remote_code": "let tokenizer, config and model run code from the checkpoint",
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
        "prefill_slowdown": "how many times as long as a step without prompts a step with parts of long prompts (above "
                            "512 tokens) may take; none: no limit, or 2 in weft serve",
        "scheduling_policy": "fcfs or priority",
        "max_num_queued_reqs": "most waiting requests; more are refused; none: no limit, or weft serve's",
        "max_num_queued_tokens": "most tokens of waiting requests; more are refused; none: no limit, or weft serve's",
        "logits_processors": "classes that change the logits of every step: module:Class or file.py:Class",
        "speculative_config": 'JSON object: tokens are drafted ahead and verified together, e.g. {"method": "ngram", '
                              '"num_speculative_tokens": 5}',
        "num_threads": "threads of the model; none: the cores this process may use",
        "cpu_isa": "highest instruction set of the model's kernels: auto, reference, portable, avx2, avx_vnni, "
                   "avx512, avx512_bf16, amx; on ARM neon, neon_i8mm",
    },
}
_PREFIX = "vllm_"      # of attributes for options of vLLM, which must not be taken for the command's own
# Options of vLLM that are shown, although they are no fields of EngineArgs: {name: help}.
SHOWN = {"spec_method": "the same as --speculative-config.method",
         "spec_model": "the same as --speculative-config.model",
         "spec_tokens": "the same as --speculative-config.num_speculative_tokens"}


def add_engine_options(parser: Parser, *, positional_model: bool = False, other: Collection[str] = (),
                       without: Collection[str] = ()) -> None:
    """Adds a flag for each field of EngineArgs, one for each other option of vLLM's engine, and --config.

    other: options of vLLM's engine whose flags the command itself adds, with another meaning.
    without: fields of EngineArgs that get no flag. A short flag that the command has keeps its meaning.
    """
    if positional_model:
        parser.add_argument("positional_model", metavar="MODEL", nargs="?", help="the same as --model")
    parser.add_argument("--config", metavar="FILE.yaml", help="options from a file; the command line wins")
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    short = {name: flag for name, flag in SHORT.items() if flag not in parser.flags()}
    for title, helps in GROUPS.items():
        add_fields(groups[title], EngineArgs, {name: helps[name] for name in helps if name not in without}, short)
    for name, text in SHOWN.items():
        add_option(groups["scheduler"], ENGINE[name], dest=_PREFIX + name, text=text)
    own = {name for helps in GROUPS.values() for name in helps} | SHOWN.keys() | set(other)
    for name in sorted(ENGINE.keys() - own):
        add_hidden(parser, ENGINE[name])


def add_hidden(parser: Parser, option: Option) -> None:
    """Adds a flag without help for an option of vLLM. `given_of` reads it."""
    add_option(parser, option, dest=_PREFIX + option.name)


def given_of(options: argparse.Namespace, rows: Mapping[str, Option]) -> dict[str, Any]:
    """{name: value} of the flags on the command line that `add_hidden` has added for `rows`."""
    return {name: getattr(options, _PREFIX + name) for name in rows if hasattr(options, _PREFIX + name)}


def engine_options_given(options: argparse.Namespace) -> dict[str, Any]:
    """{option: value} of the engine options on the command line."""
    return given(options, EngineArgs) | given_of(options, ENGINE)


def engine_args(options: argparse.Namespace, *, environ: Mapping[str, str] | None = None) -> EngineArgs:
    """The EngineArgs of a command line. By default a bar shows progress on a terminal, and nowhere else.

    environ: environment variables, which give the defaults of some options (default: this process's).
    """
    environ = os.environ if environ is None else environ
    defaults = {"kv_cache_memory_bytes": kv_cache_memory_bytes(environ), "cpu_isa": cpu_isa(environ),
                "plugins": plugins(environ), "vllm_version": vllm_version(environ)}
    chosen: dict[str, Any] = {name: value for name, value in defaults.items() if value is not None}
    chosen |= engine_options_given(options)
    if getattr(options, "positional_model", None) is not None:
        chosen["model"] = options.positional_model
    chosen.setdefault("use_tqdm_on_load", sys.stderr.isatty())
    return EngineArgs(**chosen)
