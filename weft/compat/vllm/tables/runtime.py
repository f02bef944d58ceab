"""What a model asks about its surroundings: configuration, forward context, platform, small helpers."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_OWN = "weft.models.vllm"
_VIEWS = f"{_OWN}.config_views"
_UTILS = "vllm.utils"
_SAMPLING_METADATA = ("vllm.model_executor.sampling_metadata", "vllm.model_executor", "vllm.v1.sample.metadata",
                      "vllm.model_executor.layers.sampler")

RUNTIME = (
    Row(f"{_OWN}.vllm_config", "VllmConfig get_current_vllm_config get_current_vllm_config_or_none "
        "set_current_vllm_config", "vllm.config", "vllm.config.vllm"),
    Row(_VIEWS, "ModelConfig", "vllm.config", "vllm.config.model"),
    Row(_VIEWS, "CacheConfig", "vllm.config", "vllm.config.cache"),
    Row(_VIEWS, "ParallelConfig", "vllm.config", "vllm.config.parallel"),
    Row(_VIEWS, "SchedulerConfig", "vllm.config", "vllm.config.scheduler"),
    Row(_VIEWS, "DeviceConfig", "vllm.config", "vllm.config.device"),
    Row(_VIEWS, "CompilationConfig CompilationLevel CompilationMode CUDAGraphMode", "vllm.config",
        "vllm.config.compilation"),
    Row(f"{_OWN}.forward_context", "BatchDescriptor ForwardContext get_forward_context is_forward_context_available",
        "vllm.forward_context"),
    Row(f"{_OWN}.forward_context", "AttentionMetadata", "vllm.attention", "vllm.attention.backends.abstract",
        "vllm.v1.attention.backend", "vllm.attention.backends.utils"),
    Row(f"{_OWN}.logger", "init_logger logger", "vllm.logger"),
    Row(f"{_OWN}.platform", "current_platform Platform PlatformEnum", "vllm.platforms"),
    Row(f"{_OWN}.platform", "Platform PlatformEnum", "vllm.platforms.interface"),
    Row(f"{_OWN}.envs", "*", "vllm.envs"),
    Row(f"{_OWN}.custom_op", "CustomOp PluggableLayer", "vllm.model_executor.custom_op"),
    Row(f"{_OWN}.inner_model", "init_vllm_registered_model", "vllm.model_executor.models.utils"),
    Row(f"{_OWN}.helpers", "cdiv round_up round_down", _UTILS, f"{_UTILS}.math_utils"),
    Row(f"{_OWN}.helpers", "length_from_prompt_token_ids_or_embeds", _UTILS, f"{_UTILS}.torch_utils"),
    Row(f"{_OWN}.helpers", "cast_overflow_tensors sequence_parallel_chunk", "vllm.model_executor.models.utils"),
    Row(f"{_OWN}.helpers", "is_list_of", _UTILS, f"{_UTILS}.collection_utils"),
    Row(f"{_OWN}.helpers", "set_default_torch_dtype", _UTILS, f"{_UTILS}.torch_utils",
        "vllm.model_executor.model_loader.utils", "vllm.model_executor.utils"),
    Row(f"{_OWN}.helpers", "maybe_disable_graph_partition", "vllm.model_executor.utils"),
    Row(f"{_OWN}.helpers", "direct_register_custom_op vllm_lib STR_DTYPE_TO_TORCH_DTYPE", _UTILS,
        f"{_UTILS}.torch_utils"),
    Row(f"{_OWN}.helpers", "resolve_obj_by_qualname", _UTILS, f"{_UTILS}.import_utils"),
    Row(f"{_OWN}.helpers", "is_pin_memory_available", _UTILS, f"{_UTILS}.platform_utils"),
    Row(f"{_OWN}.helpers", "LayerBlockType", _UTILS, "vllm.config", "vllm.config.model"),
    Row(f"{_OWN}.sampling", "SamplingMetadata", *_SAMPLING_METADATA),
    Row(f"{_OWN}.sampling", "SamplerOutput", "vllm.sequence", "vllm.model_executor.layers.sampler", "vllm.v1.outputs"),
    Row(f"{_OWN}.sampling", "Sampler get_sampler", "vllm.model_executor.layers.sampler"),
    Row(f"{_OWN}.sampling", "Sampler", "vllm.v1.sample.sampler"),
    Row("weft.layers.public", "set_weight_attrs", "vllm.model_executor.utils"),
    Row("weft.layers.public", "IntermediateTensors", "vllm.sequence"),
    Row("weft.parallel", "divide split_tensor_along_last_dim", "vllm.distributed", "vllm.distributed.utils"),
    Row("weft.parallel", "get_dp_group get_ep_group get_pp_group get_tp_group get_tensor_model_parallel_rank "
        "get_tensor_model_parallel_world_size", "vllm.distributed", "vllm.distributed.parallel_state",
        "vllm.model_executor.parallel_utils.parallel_state"),
    Row("weft.parallel", "tensor_model_parallel_all_gather tensor_model_parallel_all_reduce", "vllm.distributed",
        "vllm.distributed.communication_op", "vllm.model_executor.parallel_utils.communication_op"),
    Row("weft.resolve", "ConfigFormat ConfigParserBase", "vllm.transformers_utils.config_parser_base"),
    Row("weft.resolve", "ConfigFormat HfOverrides LazyConfigDict file_or_path_exists get_config get_config_parser "
        "get_hf_file_to_dict list_repo_files patch_rope_parameters register_config_parser try_get_local_file",
        "vllm.transformers_utils.config"),
    Row("weft.resolve", "file_or_path_exists get_hf_file_to_dict list_repo_files try_get_local_file",
        "vllm.transformers_utils.repo_utils"),
    Row("weft.resolve", "check_gguf_file is_gguf is_remote_gguf is_valid_gguf_quant_type "
        "maybe_patch_hf_config_from_gguf split_remote_gguf", "vllm.transformers_utils.gguf_utils",
        "vllm.transformers_utils.utils"),
    Row("weft.resolve", "adapt_config_dict", "vllm.transformers_utils.configs.mistral"),
    Row("weft.resolve", "HfOverrides", "vllm.config", "vllm.config.model"),
    Row("weft.resolve", "VerifyAndUpdateConfig", "vllm.model_executor.models.config"),
    Row("weft.resolve.hf.classes", "_CONFIG_REGISTRY=CONFIG_REGISTRY", "vllm.transformers_utils.config"),
    Row("weft.resolve.parsers", "_CONFIG_FORMAT_TO_CONFIG_PARSER", "vllm.transformers_utils.config"),
    Row(f"{_OWN}.unused_registries", "ParserManager", "vllm.parser"),
    Row(f"{_OWN}.unused_registries", "TokenizerRegistry", "vllm.transformers_utils.tokenizer_base", "vllm.tokenizers",
        "vllm.tokenizers.registry"),
    Row(f"{_OWN}.no_triton", "HAS_TRITON tl tldevice triton", "vllm.triton_utils"),
)
