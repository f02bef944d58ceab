"""`PoolingParams`: parameters of a pooling request, which asks for embeddings of a prompt instead of a completion.

Names and defaults are vLLM's. The constructor checks all values. The object is plain data and is sent to the engine.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from weft.compat.vllm.options.params import Accept, VllmParams
from weft.compat.vllm.options.pooling import accept_pooling
from weft.errors import NotBuiltError, RequestError
from weft.field_checks import check_flag

BUILT_TASKS = ("embed", "token_embed")
# vLLM's other tasks, which weft has no code for yet.
_UNBUILT_TASKS = ("classify", "token_classify", "score", "reward", "encode", "plugin", "embed&token_classify")


class PoolingParams(msgspec.Struct, metaclass=VllmParams, kw_only=True, omit_defaults=True, tag="pooling"):
    """How one prompt is pooled. A wrong value is a `RequestError` (a ValueError) that names the field.

    The constructor also takes the other fields of vLLM 0.6 to 0.33, as `compat/vllm/options/pooling.py` says.

    Attributes:
        task: "embed", one vector [E] for the prompt; "token_embed", the final hidden state of each token [T, E]. None:
            the task of the called method (`LLM.embed`, `LLM.encode`).
        use_activation: scale each vector to length 1. None: for "embed" the setting in the model's files, or True if
            they have none; for "token_embed" False (vLLM's default there is True).
        skip_reading_prefix_cache: accepted; pooling never reads the prefix cache, because it needs every token's state.
    """

    use_activation: bool | None = None
    task: str | None = None
    skip_reading_prefix_cache: bool | None = None

    accept: ClassVar[Accept] = accept_pooling

    def __post_init__(self) -> None:
        for name in ("use_activation", "skip_reading_prefix_cache"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        if self.task in _UNBUILT_TASKS:
            raise NotBuiltError("task", self.task, expected=" or ".join(BUILT_TASKS),
                                hint="weft has no code for it yet.")
        if self.task is not None and self.task not in BUILT_TASKS:
            raise RequestError("task", self.task, expected=f"{' or '.join(BUILT_TASKS)}, or None")

    def clone(self) -> PoolingParams:
        """A copy, checked again, because fields may have been assigned since."""
        return msgspec.structs.replace(self)
