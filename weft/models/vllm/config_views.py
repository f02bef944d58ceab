"""The parts of `VllmConfig`, under the names that models written for vLLM read. What weft has no code for is off."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from weft.errors import ConfigError


@dataclass(kw_only=True)
class PoolerView:
    """The settings of a pooler, complete: what the class, the files and the user say."""

    seq_pooling_type: str
    tok_pooling_type: str
    task: str | None = None
    use_activation: bool | None = None
    dimensions: int | None = None
    enable_chunked_processing: bool = False
    max_embed_len: int | None = None
    logit_mean: float | None = None
    logit_sigma: float | None = None
    step_tag_id: int | None = None
    returned_token_ids: list[int] | None = None

    @property
    def pooling_type(self) -> str:
        """`seq_pooling_type`: the name before there were two."""
        return self.seq_pooling_type

    @property
    def normalize(self) -> bool | None:
        """`use_activation`: an older name."""
        return self.use_activation

    softmax = activation = normalize

    def get_seq_pooling_type(self) -> str:
        """`seq_pooling_type`."""
        return self.seq_pooling_type

    def get_tok_pooling_type(self) -> str:
        """`tok_pooling_type`."""
        return self.tok_pooling_type


@dataclass(kw_only=True)
class MultiModalConfig:
    """limit_per_prompt: {modality: most items of a prompt}; others have no limit. mm_processor_kwargs: of all prompts.
    """

    limit_per_prompt: dict[str, int] = field(default_factory=dict)
    mm_processor_kwargs: dict[str, Any] = field(default_factory=dict)
    mm_encoder_tp_mode: str = "weights"
    mm_encoder_attn_backend: None = None
    mm_encoder_only: bool = False
    language_model_only: bool = False
    is_multimodal_pruning_enabled: bool = False
    video_pruning_rate: float | None = None

    def get_limit_per_prompt(self, modality: str) -> int:
        """Most items of a prompt; 999: there is no limit."""
        return self.limit_per_prompt.get(modality, 999)

    def merge_mm_processor_kwargs(self, inference_kwargs: dict[str, Any]) -> dict[str, Any]:
        """The settings of all prompts with those of one."""
        return {**self.mm_processor_kwargs, **inference_kwargs}


@dataclass(kw_only=True)
class ModelConfig:
    """hf_config: the checkpoint's config object; hf_text_config: its part about text, or the same object."""

    model: str
    hf_config: Any
    hf_text_config: Any
    dtype: torch.dtype
    max_model_len: int
    seed: int
    tokenizer: str | None = None
    quantization: str | None = None
    trust_remote_code: bool = False
    enforce_eager: bool = False
    runner_type: str = "generate"
    convert_type: str = "none"
    multimodal_config: MultiModalConfig = field(default_factory=MultiModalConfig)
    pooler_config: PoolerView | None = None
    revision: str | None = None
    is_multimodal_model: bool = False
    is_encoder_decoder: bool = False
    is_attention_free: bool = False
    is_hybrid: bool = False
    use_mla: bool = False
    uses_mrope: bool = False
    disable_cascade_attn: bool = True
    hf_overrides: dict[str, Any] = field(default_factory=dict)
    override_neuron_config: dict[str, Any] = field(default_factory=dict)

    @property
    def architectures(self) -> list[str]:
        """Names of the checkpoint's architectures; of a part of a config, which names none, by its model type."""
        if named := getattr(self.hf_config, "architectures", None):
            return list(named)
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # takes a second to load

        found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(getattr(self.hf_config, "model_type", ""), ())
        return [found] if isinstance(found, str) else list(found)

    @property
    def architecture(self) -> str:
        """The first of them."""
        return self.architectures[0]

    def get_multimodal_config(self) -> MultiModalConfig:
        """`multimodal_config`."""
        return self.multimodal_config

    def get_vocab_size(self) -> int:
        """Entries of the vocabulary."""
        return self._text("vocab_size")

    def get_hidden_size(self) -> int:
        """Columns of the hidden states."""
        return self._text("hidden_size", "n_embd", "d_model")

    def get_head_size(self) -> int:
        """Columns of a head."""
        size = getattr(self.hf_text_config, "head_dim", None)
        return size or self.get_hidden_size() // self.get_total_num_attention_heads()

    def get_total_num_attention_heads(self) -> int:
        """Query heads of all processes."""
        return self._text("num_attention_heads", "n_head")

    def get_total_num_kv_heads(self) -> int:
        """Key heads of all processes."""
        found = getattr(self.hf_text_config, "num_key_value_heads", None)
        return found or self.get_total_num_attention_heads()

    def get_num_attention_heads(self, parallel_config: ParallelConfig) -> int:
        """Query heads of one process."""
        return self.get_total_num_attention_heads() // parallel_config.tensor_parallel_size

    def get_num_kv_heads(self, parallel_config: ParallelConfig) -> int:
        """Key heads of one process."""
        return max(1, self.get_total_num_kv_heads() // parallel_config.tensor_parallel_size)

    def get_total_num_hidden_layers(self) -> int:
        """Layers of all stages."""
        return self._text("num_hidden_layers", "n_layer")

    def get_num_layers(self, parallel_config: ParallelConfig) -> int:
        """Layers of one process; weft's stages differ by one layer at most."""
        return self.get_total_num_hidden_layers() // parallel_config.pipeline_parallel_size

    def get_sliding_window(self) -> int | None:
        """Tokens of the window; None: there is none."""
        return getattr(self.hf_text_config, "sliding_window", None)

    def _text(self, *names: str) -> int:
        found = next((value for name in names if (value := getattr(self.hf_text_config, name, None)) is not None), None)
        if found is None:
            raise ConfigError(names[0], None, expected="a number in the checkpoint's config")
        return found


@dataclass(kw_only=True)
class CacheConfig:
    """block_size: tokens of a cache block; cache_dtype: how keys and values are stored."""

    block_size: int
    cache_dtype: str
    enable_prefix_caching: bool = True
    gpu_memory_utilization: float = 0.92
    sliding_window: int | None = None
    num_gpu_blocks: int | None = None
    calculate_kv_scales: bool = False
    kv_sharing_fast_prefill: bool = False
    mamba_block_size: int | None = None
    mamba_cache_dtype: str = "auto"
    mamba_ssm_cache_dtype: str = "auto"
    mamba_cache_mode: str = "none"


@dataclass(kw_only=True)
class ParallelConfig:
    """How many processes share the model, and which one this is."""

    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    world_size: int = 1
    rank: int = 0
    enable_expert_parallel: bool = False
    enable_eplb: bool = False
    distributed_executor_backend: str | None = None
    use_sequence_parallel_moe: bool = False
    eplb_config: Any = field(default_factory=lambda: SimpleNamespace(num_redundant_experts=0))


@dataclass(kw_only=True)
class SchedulerConfig:
    """The largest step."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int = 0
    enable_chunked_prefill: bool = True
    is_multimodal_model: bool = False
    policy: str = "fcfs"


@dataclass(kw_only=True)
class CompilationConfig:
    """What models write to and read of the compiler, which weft has none of. The containers keep what is put in."""

    static_forward_context: dict[str, Any] = field(default_factory=dict)
    static_all_moe_layers: list[str] = field(default_factory=list)
    splitting_ops: list[str] = field(default_factory=list)
    custom_ops: list[str] = field(default_factory=list)
    enabled_custom_ops: Counter[str] = field(default_factory=Counter)
    disabled_custom_ops: Counter[str] = field(default_factory=Counter)
    cudagraph_capture_sizes: list[int] = field(default_factory=list)
    compile_ranges_split_points: list[int] = field(default_factory=list)
    use_cudagraph: bool = False
    level: int = 0
    mode: int = 0
    max_cudagraph_capture_size: int = 0

    def __post_init__(self) -> None:
        self.cudagraph_mode = CUDAGraphMode.NONE


@dataclass(kw_only=True)
class DeviceConfig:
    """Where the model lies."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    device_type: str = "cpu"


class _Mode:
    """One member of CUDAGraphMode."""

    def __init__(self, name: str, value: int) -> None:
        self.name, self.value = name, value

    def __repr__(self) -> str:
        return f"CUDAGraphMode.{self.name}"

    def has_full_cudagraphs(self) -> bool:
        """Whether whole steps are graphs: weft records steps itself, so no."""
        return False

    has_piecewise_cudagraphs = requires_piecewise_compilation = has_full_cudagraphs


class CUDAGraphMode:
    """The kinds of captured graphs. A step of weft is never inside one."""

    NONE, PIECEWISE, FULL = _Mode("NONE", 0), _Mode("PIECEWISE", 1), _Mode("FULL", 2)
    FULL_DECODE_ONLY, FULL_AND_PIECEWISE = _Mode("FULL_DECODE_ONLY", 3), _Mode("FULL_AND_PIECEWISE", 4)


class CompilationMode:
    """Levels of vLLM's compiler. weft's is NONE."""

    NONE, STOCK_TORCH_COMPILE, DYNAMO_TRACE_ONCE, VLLM_COMPILE = range(4)


CompilationLevel = CompilationMode
