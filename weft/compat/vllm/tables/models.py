"""Model interfaces, the registry, and the modules of models whose classes files borrow."""

from __future__ import annotations

from weft.compat.vllm.tables.row import Row

_MODELS = "vllm.model_executor.models"
_LIBRARY = ("gemma2", "gpt2", "llama", "opt", "qwen2", "qwen3", "siglip")

MODELS = (
    Row("weft.models.registry", "*", f"{_MODELS}.registry"),
    Row("weft.models.registry", "ModelRegistry", "vllm", _MODELS),
    Row("weft.models.interfaces", "*", f"{_MODELS}.interfaces"),
    Row("weft.models.interfaces_base", "*", f"{_MODELS}.interfaces_base"),
    Row("weft.models.interfaces_base", "VllmModel=Model VllmModelForPooling=PoolingModel "
        "VllmModelForTextGeneration=TextGenerationModel is_vllm_model=is_model", f"{_MODELS}.interfaces_base",
        f"{_MODELS}.interfaces", _MODELS),
    Row("weft.models.interfaces_base", "attn_type default_pooling_type is_pooling_model is_text_generation_model",
        f"{_MODELS}.interfaces_base", f"{_MODELS}.interfaces", _MODELS),
    Row("weft.models.vllm.eagle", "EagleModelMixin", f"{_MODELS}.interfaces"),
    Row("weft.models.vllm.module_mapping", "ModelKeys MultiModelKeys", f"{_MODELS}.module_mapping"),
    *(Row(f"weft.models.library.{name}", "*", f"{_MODELS}.{name}") for name in _LIBRARY),
    Row("weft.models.vllm.model_star", "*", *(f"{_MODELS}.{name}" for name in _LIBRARY)),
    Row("weft.models.interfaces", "HasInnerState SupportsLoRA SupportsMRoPE SupportsMultiModal SupportsPP "
        "SupportsTranscription has_inner_state supports_lora supports_mrope supports_multimodal supports_pp "
        "supports_transcription", _MODELS),
)
