"""Parts of vLLM whose classes files subclass when they are imported, although weft lacks the part: {path: reason}.

Each class below such a path may be subclassed and annotated with; making an object raises, with the reason. A name is
taken for a class if it begins with a capital and has a small letter.
"""

from __future__ import annotations

_MEDIA = "weft has no object for this part of the processing of media"
_POOLING = "weft has no pooler of this name; weft.models.vllm.poolers has those that there are"
_STATES = "states (Mamba, linear attention, short convolutions) of programmed models are not built yet"
_PARSERS = "weft's own parsers are chosen by name (docs/tools.md), and have no classes that others may borrow"

LATER = {
    "vllm.multimodal": _MEDIA,
    "vllm.inputs": _MEDIA,
    "vllm.config.multimodal": _MEDIA,
    "vllm.model_executor.models.interfaces": "weft has no code for this ability of models yet",
    "vllm.model_executor.models": "weft has no class of its own for this model that others may borrow",
    "vllm.model_executor.layers.pooler": _POOLING,
    "vllm.model_executor.pooling_metadata": _POOLING,
    "vllm.v1.pool": _POOLING,
    "vllm.model_executor.layers.mamba": _STATES,
    "vllm.model_executor.layers.attention": "this kind of attention is not built for programmed models yet",
    "vllm.attention.layers": "this kind of attention is not built for programmed models yet",
    "vllm.tool_parsers": _PARSERS,
    "vllm.reasoning": _PARSERS,
    "vllm.parser": _PARSERS,
    "vllm.entrypoints.openai": _PARSERS,
    "vllm.v1.sample.logits_processor": "weft's engine applies its own processors of logits itself",
    "vllm.plugins.io_processors": "processors of inputs and outputs of pooling models are not built yet",
    "vllm.transformers_utils.configs": "weft has no config class of this name",
    "vllm.model_executor.layers.quantization": "weft reads quantized checkpoints itself (weft.checkpoint.quantization)",
}


def later_reason(path: str, name: str) -> str | None:
    """Why no object of the class `path.name` can be made; None for a name that may not be subclassed either."""
    word = name.lstrip("_")
    if not word[:1].isupper() or word.isupper():
        return None
    parts = path.split(".")
    found = (LATER.get(".".join(parts[:end])) for end in range(len(parts), 0, -1))
    return next((reason for reason in found if reason is not None), None)
