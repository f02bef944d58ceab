"""`EngineConfig`: all settings of one engine, resolved, frozen and plain, so that they can be sent to a child process.

`resolve/engine_config.py` makes it. Each part of the engine takes only the section it needs (`CacheConfig`, …).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from weft.config.engine_args import VLLM_VERSION
from weft.config.frozen import freeze
from weft.config.pooler_config import PoolerConfig
from weft.config.speculative import SpeculativeConfig
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSettings:
    """The quantization settings of a checkpoint, as found in its files. Interpreted by `checkpoint/quantization/`.

    method: one of quantization_methods.READ. values: the JSON object with the settings; source: the file that holds it;
    path: its place in the file, e.g. "quantization_config.".
    """

    method: str
    values: dict[str, Any]
    source: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model is run, and how.

    path: the folder of the model's files, or its GGUF file.
    hf_config: the config after all stages, frozen; config_source: the file it was read from, for messages; origins:
    {key: source} of config values that come from elsewhere than that file, and of fields of this class.
    dtype: "float32", "float16" or "bfloat16".
    max_model_len: most tokens a sequence may have; is_max_model_len_fixed False: the memory plan may lower it.
    generation_defaults: sampling defaults from generation_config.json (temperature, top_p, max_new_tokens …).
    decoder_start_token_id, forced_bos_token_id, forced_eos_token_id: of a model with an encoder: the token that its
    decoder starts from, and the first generated token and the last one that max_tokens allows, whatever the model says;
    None: the files name none.
    suppress_token_ids, begin_suppress_token_ids: of such a model: ids that it never generates, or never first.
    is_multilingual: False of a model that hears English alone, whose prompts name no language and no task.
    quantization: how the checkpoint's weights are quantized; None: they are floats.
    model_file: a Python file that describes or programs the model. model_class: what runs the model:
    "module:Name", "path/file.py:Name", or a class or description that only this process can reach.
    reasoning_parser, enable_in_reasoning, runner, convert: as in EngineArgs; `models/purpose.py` says what "auto"
    means for a model.
    pooler_config: how the model pools, where the user has said so.
    model_impl: auto, native or transformers. trust_remote_code: code that comes with the checkpoint may run;
    code_revision: of the repository that holds it.
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
    decoder_start_token_id: int | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    suppress_token_ids: tuple[int, ...] = ()
    begin_suppress_token_ids: tuple[int, ...] = ()
    is_multilingual: bool = True
    quantization: QuantizationSettings | None = None
    config_source: str = "config.json"
    model_file: str | None = None
    model_class: Any = None
    model_impl: str = "auto"
    trust_remote_code: bool = False
    code_revision: str | None = None
    seed: int = 0
    max_logprobs: int = 20
    logprobs_mode: str = "raw_logprobs"
    enable_prompt_embeds: bool = False
    reasoning_parser: str | None = None
    enable_in_reasoning: bool = False
    runner: str = "auto"
    convert: str = "auto"
    pooler_config: PoolerConfig | None = None

    def __post_init__(self) -> None:
        for name in ("hf_config", "origins", "generation_defaults"):
            object.__setattr__(self, name, freeze(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """Where the tokenizer is. path None: no tokenizer, token ids in and out. mode: auto, hf or mistral.

    lowers_case: texts become lower case first.
    """

    path: str | None
    mode: str = "auto"
    lowers_case: bool = False
    trust_remote_code: bool = False
    chat_template: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """The paged KV cache.

    dtype: one of KV_CACHE_DTYPES. block_size: tokens in a block. kv_cache_memory_bytes None: the memory plan decides.
    memory_utilization: fraction of the machine's memory the engine may use. memory_bytes: most bytes that it may use,
    where other engines need the rest; None: there are no others.
    """

    dtype: str
    block_size: int = 16
    enable_prefix_caching: bool = True
    kv_cache_memory_bytes: int | None = None
    memory_utilization: float = 0.92
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.block_size < 1 or self.block_size & (self.block_size - 1):
            raise ConfigError("block_size", self.block_size, expected="a power of two", hint="Use 16.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """Limits on one step, and on the queue of waiting requests. See EngineArgs for units."""

    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str = "fcfs"
    enable_chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    prefill_slowdown: float | None = None
    max_num_queued_reqs: int | None = None
    max_num_queued_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """How weights are read.

    load_format: auto, or the one format whose files are read.
    quantization: the user's option, e.g. "int8" to quantize while loading. activation_dtype: "int8" where quantized
    weights are multiplied by activations of 8 bits, else None.
    """

    load_format: str = "auto"
    quantization: str | None = None
    activation_dtype: str | None = None
    use_tqdm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaConfig:
    """Media of prompts. limits: {kind: most items of a prompt}; a kind that is not there has no limit.

    processor_kwargs: arguments of the model's processor, for all prompts.
    allowed_local_path: the folder of files that clients may name; "": none. allowed_domains: hosts of URLs; none: all.
    allowed_networks: networks of hosts besides the public ones. fetch_timeout: seconds for one file.
    max_image_bytes: of an image's file. max_image_pixels: of an image; a prompt's files have at most twice as many.
    """

    limits: dict[str, int] = field(default_factory=dict)
    processor_kwargs: dict[str, Any] = field(default_factory=dict)
    allowed_local_path: str = ""
    allowed_domains: tuple[str, ...] = ()
    allowed_networks: tuple[str, ...] = ()
    fetch_timeout: float = 5.0
    max_image_bytes: int = 20 << 20
    max_image_pixels: int = 64 << 20

    def __post_init__(self) -> None:
        for name in ("limits", "processor_kwargs"):
            object.__setattr__(self, name, freeze(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """All settings of one engine.

    cpus: logical CPUs the engine's threads run on; empty: all that the process may use.
    cpu_isa: the highest ISA level of `config/isa.py` that kernels may use; "reference": no native kernels.
    enforce_eager: decode steps are not recorded and replayed (graph capture, `models/replay.py`).
    origins: {field of this class: source}, for fields taken from the machine or from an option about the machine.
    speculative: settings of speculative decoding; None: off.
    plugins: names of the plugins that every process of the engine runs; None: all that are installed.
    logits_processors: classes that change the logits of all requests: "module:Class", "path/file.py:Class", or a class
    object that only this process can reach.
    vllm_version, vllm_modules: what `import vllm` means to plugins and model files, see EngineArgs.
    """

    model: ModelConfig
    tokenizer: TokenizerConfig
    cache: CacheConfig
    scheduler: SchedulerConfig
    load: LoadConfig
    num_threads: int
    served_model_names: tuple[str, ...]
    media: MediaConfig = field(default_factory=MediaConfig)
    cpus: tuple[int, ...] = ()
    cpu_isa: str = "reference"
    enforce_eager: bool = False
    speculative: SpeculativeConfig | None = None
    plugins: tuple[str, ...] | None = None
    logits_processors: tuple[Any, ...] = ()
    vllm_version: str = VLLM_VERSION
    vllm_modules: str = "auto"
    origins: dict[str, str] = field(default_factory=dict)
