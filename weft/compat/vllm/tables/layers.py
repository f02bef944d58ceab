"""Layers, the loading of weights and parallel groups."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_PUBLIC = "weft.layers.public"
_LAYERS = "vllm.model_executor.layers"
_ATTENTION = ("vllm.attention", "vllm.attention.layer", f"{_LAYERS}.attention", f"{_LAYERS}.attention.attention",
              f"{_LAYERS}.attention_layer_base", "vllm.model_executor.layers.attention.layer")
_KINDS = (("ChunkedLocalAttention", "chunked_local_attention"), ("CrossAttention", "cross_attention"),
          ("EncoderOnlyAttention", "encoder_only_attention"), ("MMEncoderAttention", "mm_encoder_attention"))

_UTILS = "vllm.model_executor.models.utils"
_LOADING = ("vllm.model_executor.model_loader.weight_utils", "vllm.model_executor.weight_utils")

LAYERS = (
    Row("weft.layers.public.compile", "support_torch_compile ignore_torch_compile", "vllm.compilation.decorators"),
    Row(_PUBLIC, "ColumnParallelLinear MergedColumnParallelLinear QKVParallelLinear ReplicatedLinear RowParallelLinear",
        f"{_LAYERS}.linear"),
    Row(_PUBLIC, "ParallelLMHead VocabParallelEmbedding DEFAULT_VOCAB_PADDING_SIZE",
        f"{_LAYERS}.vocab_parallel_embedding"),
    Row("weft.layers.public.quant_config", "QuantizationConfig", f"{_LAYERS}.quantization",
        f"{_LAYERS}.quantization.base_config"),
    Row(_PUBLIC, "LogitsProcessor", f"{_LAYERS}.logits_processor"),
    Row("weft.models.vllm.layers", "Attention", *_ATTENTION),
    Row(_PUBLIC, "AttentionType", "vllm.attention", "vllm.attention.backends.abstract", "vllm.v1.attention.backend",
        "vllm.attention.selector"),
    *(Row(_PUBLIC, name, f"{_LAYERS}.attention", f"{_LAYERS}.attention.{module}", f"vllm.attention.layers.{module}")
      for name, module in _KINDS),
    Row(_PUBLIC, "MMEncoderAttention", *_ATTENTION[:2]),
    Row(_PUBLIC, "FusedMoE", f"{_LAYERS}.fused_moe", f"{_LAYERS}.fused_moe.layer"),
    Row(_PUBLIC, "SharedFusedMoE", f"{_LAYERS}.fused_moe", f"{_LAYERS}.fused_moe.shared_fused_moe",
        f"{_LAYERS}.shared_fused_moe"),
    Row(_PUBLIC, "RotaryEmbedding get_rope", f"{_LAYERS}.rotary_embedding", f"{_LAYERS}.rotary_embedding.base"),
    Row("weft.models.vllm.editable", "_ROPE_DICT", f"{_LAYERS}.rotary_embedding"),
    Row("weft.models.vllm.editable", "_ACTIVATION_REGISTRY", f"{_LAYERS}.activation"),
    Row("weft.models.vllm.layers", "RMSNorm", f"{_LAYERS}.layernorm"),
    Row(_PUBLIC, "GemmaRMSNorm", f"{_LAYERS}.layernorm"),
    Row(_PUBLIC, "FastGELU FatreluAndMul GeluAndMul MulAndSilu NewGELU QuickGELU ReLUSquaredActivation SiluAndMul "
        "SiluAndMulWithClamp SwigluOAIAndMul XIELU get_act_and_mul_fn get_act_fn", f"{_LAYERS}.activation"),
    Row("weft.models.vllm.poolers", "*", f"{_LAYERS}.pooler", f"{_LAYERS}.pooler.abstract", f"{_LAYERS}.pooler.common",
        f"{_LAYERS}.pooler.special", f"{_LAYERS}.pooler.activations", f"{_LAYERS}.pooler.seqwise",
        f"{_LAYERS}.pooler.tokwise", f"{_LAYERS}.pooler.seqwise.poolers", f"{_LAYERS}.pooler.tokwise.poolers",
        f"{_LAYERS}.pooler.seqwise.methods", f"{_LAYERS}.pooler.tokwise.methods"),
    Row("weft.models.vllm.pooling_metadata", "PoolingMetadata PoolingCursor", "vllm.v1.pool.metadata",
        "vllm.model_executor.pooling_metadata"),
    Row("weft.models.vllm.pooling_metadata", "get_prompt_lens", f"{_LAYERS}.pooler"),
    Row("weft.config", "PoolerConfig", "vllm.config", "vllm.config.pooler"),
    Row(_PUBLIC, "default_weight_loader maybe_remap_kv_scale_name", *_LOADING),
    Row(_PUBLIC, "AutoWeightsLoader PPMissingLayer WeightsMapper extract_layer_index is_pp_missing_parameter "
        "make_empty_intermediate_tensors_factory make_layers maybe_prefix", _UTILS),
)
