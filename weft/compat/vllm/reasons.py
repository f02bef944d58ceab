"""Why weft has no object for a part of vLLM: {path: reason}. The longest path that a name begins with counts."""

from __future__ import annotations

from weft.compat.vllm.tables.later import LATER

_KERNEL = "this is a kernel for GPUs, and weft's operators are its own (weft.ops)"
_WORKER = "weft has its own workers, runners and schedulers, which vLLM's internals do not describe"
_BACKEND = "weft chooses the kernels of attention itself, and plans its cache itself"

REASONS = {
    **LATER,
    "vllm._C": _KERNEL,
    "vllm._custom_ops": _KERNEL,
    "vllm._ipex_ops": _KERNEL,
    "vllm.vllm_flash_attn": _KERNEL,
    "vllm.triton_utils": _KERNEL,
    "vllm.third_party": _KERNEL,
    "vllm.model_executor.layers.fla": _KERNEL,
    "vllm.model_executor.layers.mamba.ops": _KERNEL,
    "vllm.model_executor.layers.fused_moe.fused_moe": _KERNEL,
    "vllm.attention.ops": _KERNEL,
    "vllm.v1.attention.ops": _KERNEL,
    "vllm.lora.ops": _KERNEL,
    "vllm.utils.flashinfer": _KERNEL,
    "vllm.utils.deep_gemm": _KERNEL,
    "vllm.attention.backends": _BACKEND,
    "vllm.attention.selector": _BACKEND,
    "vllm.v1.attention": _BACKEND,
    "vllm.v1.kv_cache_interface": _BACKEND,
    "vllm.v1.worker": _WORKER,
    "vllm.v1.core": _WORKER,
    "vllm.v1.engine": _WORKER,
    "vllm.v1.executor": _WORKER,
    "vllm.v1.spec_decode": _WORKER,
    "vllm.worker": _WORKER,
    "vllm.core": _WORKER,
    "vllm.executor": _WORKER,
    "vllm.lora": "weft runs no adapters (LoRA) yet",
    "vllm.platforms": "weft runs on the CPU and asks no platform plugin",
    "vllm.compilation": "weft records decode steps instead of compiling a graph",
    "vllm.envs": "weft gives model files no value of this variable; options say what an engine does",
    "vllm.distributed": "weft has no such collective",
    "vllm.model_executor.models.vision": "weft has no towers for images yet",
    "vllm.model_executor.layers.rotary_embedding": "get_rope makes each kind that weft has, by rope_parameters",
    "vllm.config.speech_to_text": "models that turn speech to text are not built yet",
    "vllm.config.SpeechToTextConfig": "models that turn speech to text are not built yet",
    "vllm.v1.attention.backends.registry.MambaAttentionBackendEnum": "states of programmed models are not built yet",
    "vllm.sequence": "weft's engine has no such object for a sequence; SequenceData was vLLM 0.6's",
    "vllm.transformers_utils.processor": "weft has no object for this part of the processing of media",
    "vllm.transformers_utils.tokenizer": "weft makes its tokenizer itself (llm.get_tokenizer())",
    "vllm.tokenizers": "weft makes its tokenizer itself (llm.get_tokenizer())",
}


def reason_for(name: str) -> str | None:
    """The reason for the longest path in REASONS that is `name` or that `name` lies below; None if there is none."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        found = REASONS.get(".".join(parts[:end]))
        if found is not None:
            return found
    return None
