"""What `from vllm.model_executor.models.<model> import *` gives besides the model's classes: the module's imports."""

# ruff: noqa: F401
from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, List, Optional, Set, Tuple, Union  # noqa: UP035

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, LlamaConfig, OPTConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from weft.layers.public import (
    DEFAULT_VOCAB_PADDING_SIZE,
    AutoWeightsLoader,
    ColumnParallelLinear,
    GeluAndMul,
    IntermediateTensors,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    PPMissingLayer,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
    SiluAndMul,
    VocabParallelEmbedding,
    WeightsMapper,
    default_weight_loader,
    extract_layer_index,
    get_act_and_mul_fn,
    get_act_fn,
    get_rope,
    is_pp_missing_parameter,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
    maybe_remap_kv_scale_name,
)
from weft.layers.public.quant_config import QuantizationConfig
from weft.models.interfaces import SupportsLoRA, SupportsPP
from weft.models.vllm.config_views import CacheConfig
from weft.models.vllm.layers import Attention, RMSNorm
from weft.models.vllm.logger import init_logger
from weft.models.vllm.sampling import SamplingMetadata
from weft.models.vllm.vllm_config import VllmConfig
from weft.parallel import get_pp_group, get_tensor_model_parallel_world_size
