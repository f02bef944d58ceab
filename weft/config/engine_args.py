"""`EngineArgs`: the options a user may set, under vLLM's names. Plain data, checked for type and range only.

`resolve/engine_config.py` turns `EngineArgs` into an `EngineConfig`, where no value is automatic any more. Options that
vLLM has and weft has not are treated as `compat/vllm/options/` says.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any

from weft.compat.vllm.options.accept import accept
from weft.compat.vllm.options.engine import ENGINE
from weft.config.engine_flags import add_engine_flags, engine_options
from weft.config.flags import default_of
from weft.config.isa import CPU_ISAS
from weft.config.media import check_sources, read_limits
from weft.config.pooler_config import PoolerConfig, read_pooler_config
from weft.config.quantization_methods import method_named
from weft.config.speculative import read_speculative_config
from weft.errors import ConfigError

DTYPES = ("float32", "float16", "bfloat16")
DTYPE_NAMES = {"float": "float32", "half": "float16", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

# Data types of the KV cache, and their aliases.
KV_CACHE_DTYPES = (*DTYPES, "fp8_e4m3", "fp8_e5m2", "int8_per_token_head")
KV_CACHE_DTYPE_NAMES = {**DTYPE_NAMES, "fp8": "fp8_e4m3", "int8": "int8_per_token_head"}

# Default of `vllm.__version__` in files written for vLLM: those that look at it then take their newest branch.
VLLM_VERSION = "0.32.0"
VLLM_MODULES = ("auto", "weft", "installed")      # whose modules such files import


@dataclass(frozen=True, kw_only=True, init=False)
class EngineArgs:
    """Options of an engine. None: weft chooses the value from the checkpoint and the machine.

    The constructor takes the fields below and every option of vLLM 0.6 to 0.33. Raises TypeError for an unknown name,
    NotBuiltError for a value that weft cannot honour, ConfigError for a wrong one.
    """

    model: str | None = None                      # directory, hub id, GGUF file; None: the embedded model
    tokenizer: str | None = None                  # directory or hub id; None: the model's
    tokenizer_mode: str = "auto"                  # auto (chosen from the files present), hf, mistral
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    revision: str | None = None
    tokenizer_revision: str | None = None
    hf_token: str | None = None
    download_dir: str | None = None
    config_format: str = "auto"                   # auto, hf, mistral, or the name of a registered parser
    config_parser_file: str | None = None         # a Python file that registers config parsers
    hf_config_path: str | None = None             # directory or hub id of the config; None: the model's
    code_revision: str | None = None              # revision of the repository that holds the config's Python code
    # Keys that override config.json (nested dicts are merged), or a function that changes the config object.
    hf_overrides: dict[str, Any] | Callable[[Any], Any] = field(default_factory=dict)
    plugins: tuple[str, ...] | None = None        # plugins (weft.plugins, vllm.general_plugins); None: all
    # `vllm.__version__` in files written for vLLM, and whose modules their imports get: auto (the installed vLLM's, if
    # there is one, else weft's), weft, installed.
    vllm_version: str = VLLM_VERSION
    vllm_modules: str = "auto"
    model_file: str | None = None                 # a Python file that describes or programs the model; FILE.py:Class
    # What runs the model: a class, a function marked by @architecture, or "module:Name" or "file.py:Name" of either.
    model_class: str | type | Callable[[Any], Any] | None = None
    model_impl: str = "auto"                      # auto (native if weft has the architecture), native, transformers
    runner: str = "auto"                          # auto (the model's own task), generate, pooling
    convert: str = "auto"                         # what pooling makes of states: auto, none, embed, classify
    # How a pooling model pools, where its files should not decide: a PoolerConfig, or its fields.
    pooler_config: dict[str, Any] | PoolerConfig | None = None
    dtype: str = "auto"
    quantization: str | None = None               # None: as the checkpoint says; int8, int4, w8a8, w4a8: at load
    activation_dtype: str | None = None           # int8: quantized weights are multiplied by activations of 8 bits
    seed: int = 0
    max_model_len: int | None = None              # tokens; -1: as many as memory allows
    max_logprobs: int = 20                        # -1: no limit
    logprobs_mode: str = "raw_logprobs"
    generation_config: str = "auto"               # auto: the model's; weft: none; or a directory that holds one
    override_generation_config: dict[str, Any] = field(default_factory=dict)
    chat_template: str | None = None              # a template or the path of one; None: the tokenizer's
    disable_sliding_window: bool = False
    limit_mm_per_prompt: dict[str, Any] = field(default_factory=dict)     # {"image": most images of a prompt}
    mm_processor_kwargs: dict[str, Any] = field(default_factory=dict)     # arguments of the model's image processor
    allowed_local_media_path: str = ""            # a folder whose files clients may name by file: URLs; "": none
    allowed_media_domains: tuple[str, ...] = ()   # hosts that media of clients may come from; none: all
    # Networks besides public addresses that clients may reach through weft, to name media there: "10.1.0.0/16".
    allowed_media_networks: tuple[str, ...] = ()
    media_fetch_timeout: float = 5.0              # seconds to fetch one file that a client names
    max_image_bytes: int = 20 << 20               # bytes of an image's file
    max_image_pixels: int = 64 << 20              # pixels of an image; all files of a prompt have twice as many at most
    enable_prompt_embeds: bool = False            # True: prompts may be given as embeddings [tokens, hidden size]
    # The format of the model's reasoning, behind which an answer's form begins; None: what the chat template tells, in
    # chats; "none": off.
    reasoning_parser: str | None = None
    enable_in_reasoning: bool = False             # True: an answer's form holds from its first token, reasoning or not
    enforce_eager: bool = False                   # True: decode steps are not recorded and replayed (graph capture)
    load_format: str = "auto"                     # auto, safetensors, pt, mistral, gguf, dummy
    use_tqdm_on_load: bool = True
    block_size: int = 16                          # tokens in one block of the KV cache
    kv_cache_dtype: str = "auto"                  # auto: the model's dtype; or one of KV_CACHE_DTYPES
    enable_prefix_caching: bool = True
    kv_cache_memory_bytes: int | None = None
    gpu_memory_utilization: float = 0.92          # fraction of the device's memory the engine may use (CPU: see docs)
    max_num_seqs: int | None = None               # sequences in one step
    max_num_batched_tokens: int | None = None     # tokens in one step
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0         # most tokens of one prompt in a step; 0: no limit
    # How many times as long as a step without prompts a step with parts of long prompts may take; None: no limit.
    prefill_slowdown: float | None = None
    scheduling_policy: str = "fcfs"               # fcfs, priority
    max_num_queued_reqs: int | None = None        # most requests that may wait; one more is a QueueFullError
    max_num_queued_tokens: int | None = None      # most tokens of requests that wait; more are a QueueFullError
    logits_processors: tuple[str, ...] = ()       # classes, "module:Class" or "file.py:Class": see docs/guide.md
    speculative_config: dict[str, Any] | None = None      # speculative decoding: {"method": "ngram", …}
    served_model_name: tuple[str, ...] = ()
    num_threads: int | None = None                # None: the cores this process may use
    cpu_isa: str = "auto"                         # highest ISA level for native kernels: auto, or a level of isa.py

    def __init__(self, model: str | None = None, **options: Any) -> None:
        own = {f.name: f for f in fields(self)}
        chosen = _plain(accept(ENGINE, {"model": model, **options}, known=own))
        for name, f in own.items():
            value = chosen.get(name)
            use_default = value is None and not _takes_none(f)      # vLLM's default of many options is None
            object.__setattr__(self, name, default_of(f) if name not in chosen or use_default else value)
        self._check()

    @staticmethod
    def add_cli_args(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """Add a flag for every option to a parser of the caller's, and return it. `from_cli_args` reads its result."""
        add_engine_flags(parser, EngineArgs)
        return parser

    @classmethod
    def from_cli_args(cls, args: argparse.Namespace) -> EngineArgs:
        """The options of a parsed command line; other attributes are left alone."""
        return cls(**engine_options(args, cls))

    def _check(self) -> None:
        _check_types(self)
        object.__setattr__(self, "dtype", DTYPE_NAMES.get(self.dtype, self.dtype))
        _one_of("dtype", self.dtype, ("auto", *DTYPES))
        if self.quantization is not None:
            method = method_named(self.quantization, field="quantization", is_option=True)
            object.__setattr__(self, "quantization", method)
        if self.activation_dtype is not None:
            _one_of("activation_dtype", self.activation_dtype, ("int8",))
        if self.quantization == "w4a8":
            object.__setattr__(self, "quantization", "int4")
            object.__setattr__(self, "activation_dtype", "int8")
        elif (self.quantization, self.activation_dtype) == ("int8", "int8"):
            object.__setattr__(self, "quantization", "w8a8")
        object.__setattr__(self, "kv_cache_dtype", KV_CACHE_DTYPE_NAMES.get(self.kv_cache_dtype, self.kv_cache_dtype))
        _one_of("kv_cache_dtype", self.kv_cache_dtype, ("auto", *KV_CACHE_DTYPES))
        _one_of("model_impl", self.model_impl, ("auto", "native", "transformers"))
        _one_of("runner", self.runner, ("auto", "generate", "pooling"))
        _one_of("convert", self.convert, ("auto", "none", "embed", "classify"))
        object.__setattr__(self, "pooler_config", read_pooler_config(self.pooler_config))
        _one_of("load_format", self.load_format, ("auto", "safetensors", "pt", "mistral", "gguf", "dummy"))
        _one_of("tokenizer_mode", self.tokenizer_mode, ("auto", "hf", "mistral"))
        _one_of("vllm_modules", self.vllm_modules, VLLM_MODULES)
        _one_of("scheduling_policy", self.scheduling_policy, ("fcfs", "priority"))
        _one_of("cpu_isa", self.cpu_isa, CPU_ISAS)
        _one_of("logprobs_mode", self.logprobs_mode,
                ("raw_logprobs", "raw_logits", "processed_logprobs", "processed_logits"))
        _check_ranges(self)
        read_speculative_config(self.speculative_config)
        read_limits(self.limit_mm_per_prompt)
        check_sources(self.allowed_media_domains, self.allowed_media_networks, self.media_fetch_timeout)


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """The options with one spelling for each value: names and plugins as tuples, "auto" for max_model_len as -1."""
    plain = dict(given)
    if plain.get("max_model_len") == "auto":
        plain["max_model_len"] = -1
    if isinstance(plain.get("served_model_name"), str):
        plain["served_model_name"] = (plain["served_model_name"],)
    for name in ("served_model_name", "plugins", "logits_processors", "allowed_media_domains",
                 "allowed_media_networks"):
        if isinstance(plain.get(name), list):
            plain[name] = tuple(plain[name])
    return plain


def _takes_none(f: Field[Any]) -> bool:
    return "None" in str(f.type).split(" | ")


_TYPES: dict[str, tuple[Any, ...]] = {     # annotation -> what isinstance takes (Callable is no class, but works there)
    "str": (str,), "bool": (bool,), "int": (int,), "float": (float, int), "dict[str, Any]": (dict,),
    "tuple[str, ...]": (tuple,), "PoolerConfig": (PoolerConfig,), "Callable[[Any], Any]": (Callable,), "type": (type,),
}


def _check_types(args: EngineArgs) -> None:
    for f in fields(args):
        names = [part.strip() for part in str(f.type).split(" | ")]
        value = getattr(args, f.name)
        if value is None and _takes_none(f):
            continue
        wanted = tuple(t for name in names for t in _TYPES.get(name, ()))
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            raise ConfigError(f.name, value, expected=str(f.type))


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(name, value, expected=f"one of {', '.join(allowed)}")


def _check_ranges(args: EngineArgs) -> None:
    for name, low in (("max_model_len", 1), ("max_num_seqs", 1), ("max_num_batched_tokens", 1), ("num_threads", 1),
                      ("kv_cache_memory_bytes", 1), ("long_prefill_token_threshold", 0), ("max_logprobs", -1),
                      ("max_num_queued_reqs", 1), ("max_num_queued_tokens", 1), ("max_image_bytes", 1),
                      ("max_image_pixels", 1)):
        value = getattr(args, name)
        if value is not None and value < low and not (name == "max_model_len" and value == -1):
            raise ConfigError(name, value, expected=f"at least {low}")
    if args.prefill_slowdown is not None and not 1 < args.prefill_slowdown < math.inf:
        raise ConfigError("prefill_slowdown", args.prefill_slowdown, expected="a number above 1", hint="Use 2.")
    if args.block_size < 1 or args.block_size & (args.block_size - 1):
        raise ConfigError("block_size", args.block_size, expected="a power of two", hint="Use 16.")
    if not (math.isfinite(args.gpu_memory_utilization) and 0 < args.gpu_memory_utilization <= 1):
        raise ConfigError("gpu_memory_utilization", args.gpu_memory_utilization, expected="in (0, 1]")
