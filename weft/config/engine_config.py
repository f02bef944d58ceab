"""`EngineConfig`: all an engine needs to know, resolved, frozen and plain, so that it can travel to a child process.

Made by `resolve/engine_config.py`. A part of the engine takes the part of it that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weft.config.frozen import freeze
from weft.config.speculative import SpeculativeConfig
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSettings:
    """How a checkpoint says that its weights are quantized, as it was found.

    method: one of quantization_methods.READ. values: the object; source: its file; path: where in it, e.g.
    "quantization_config.". Read by `checkpoint/quantization/`.
    """

    method: str
    values: dict[str, Any]
    source: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model, and how it is run.

    path: the folder of its files, or its GGUF file.
    hf_config: the config after all stages, frozen; config_source: the file it is from, for messages; origins:
    {key: source} of values that are not that file's own, and of fields of this class.
    dtype: "float32", "float16" or "bfloat16".
    max_model_len: tokens a sequence may have; is_max_model_len_fixed False: the memory plan may lower it.
    generation_defaults: sampling defaults from generation_config.json (temperature, top_p, max_new_tokens …).
    quantization: of the checkpoint's weights; None: they are floats.
    model_file: a Python file that describes or programs the model. model_class: of a programmed model: "module:Class",
    "path/file.py:Class", or a class that only this process can reach.
    """

    name: str
    path: str
    architecture: str
    hf_config: dict[str, Any]
    dtype: str
    max_model_len: int
    is_max_model_len_fixed: bool
    vocab_size: int
    eos_token_ids: tuple[int, ...]
    origins: dict[str, str] = field(default_factory=dict)
    generation_defaults: dict[str, Any] = field(default_factory=dict)
    quantization: QuantizationSettings | None = None
    config_source: str = "config.json"
    model_file: str | None = None
    model_class: Any = None
    seed: int = 0
    max_logprobs: int = 20
    logprobs_mode: str = "raw_logprobs"
    enable_prompt_embeds: bool = False
    runner: str = "auto"

    def __post_init__(self) -> None:
        for name in ("hf_config", "origins", "generation_defaults"):
            object.__setattr__(self, name, freeze(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """Where the tokenizer is. path None: token ids in, token ids out. mode: auto, hf or mistral."""

    path: str | None
    mode: str = "auto"
    trust_remote_code: bool = False
    chat_template: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """The paged cache. dtype: one of KV_CACHE_DTYPES. kv_cache_memory_bytes None: what the memory plan finds."""

    dtype: str
    block_size: int = 16
    enable_prefix_caching: bool = True
    kv_cache_memory_bytes: int | None = None
    memory_utilization: float = 0.92

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.block_size & (self.block_size - 1):
            raise ConfigError("block_size", self.block_size, expected="a power of two", hint="Use 16.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """What one step may hold."""

    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str = "fcfs"
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    max_num_queued_reqs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """How weights are read. load_format: auto, or the one format whose files count.

    quantization: as the user asked for, e.g. "int8" for quantizing at load.
    """

    load_format: str = "auto"
    quantization: str | None = None
    use_tqdm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Everything about one engine.

    cpus: logical CPUs that its threads run on; empty: wherever its process may.
    cpu_isa: the highest level of `config/isa.py` that kernels may use; "reference": no native kernels.
    enforce_eager: decode steps are not recorded (`models/replay.py`).
    origins: {field of this class: source}, for those that come from the machine or an option about it.
    speculative: how tokens are drafted ahead; None: they are not.
    plugins: those that every process of the engine runs; None: all that are installed.
    """

    model: ModelConfig
    tokenizer: TokenizerConfig
    cache: CacheConfig
    scheduler: SchedulerConfig
    load: LoadConfig
    num_threads: int
    served_model_names: tuple[str, ...]
    cpus: tuple[int, ...] = ()
    cpu_isa: str = "reference"
    enforce_eager: bool = False
    speculative: SpeculativeConfig | None = None
    plugins: tuple[str, ...] | None = None
    origins: dict[str, str] = field(default_factory=dict)
