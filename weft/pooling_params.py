"""`PoolingParams`: parameters of a pooling request, which asks for embeddings of a prompt instead of a completion.

Names and defaults are vLLM's. The constructor checks all values. The object is plain data and is sent to the engine.
"""

from __future__ import annotations

from typing import Any

import msgspec

from weft.errors import NotBuiltError, RequestError
from weft.sampling_params import check_flag

BUILT_TASKS = ("embed", "token_embed")
# vLLM's other tasks and fields, which weft has no code for yet: any value but None is refused.
_UNBUILT_TASKS = ("classify", "token_classify", "score", "reward", "encode", "plugin", "embed&token_classify")
_UNBUILT = ("dimensions", "step_tag_id", "returned_token_ids", "extra_kwargs")


class PoolingParams(msgspec.Struct, kw_only=True, omit_defaults=True, tag="pooling"):
    """How one prompt is pooled. A wrong value is a `RequestError` (a ValueError) that names the field.

    Attributes:
        task: "embed", one vector [E] for the prompt; "token_embed", the final hidden state of each token [T, E]. None:
            the task of the called method (`LLM.embed`, `LLM.encode`).
        use_activation: scale each vector to length 1. None: for "embed" the setting in the model's files, or True if
            they have none; for "token_embed" False (vLLM's default there is True).
        normalize: the older name of `use_activation`.
        skip_reading_prefix_cache: accepted; pooling never reads the prefix cache, because it needs every token's state.
    """

    use_activation: bool | None = None
    dimensions: Any = None
    step_tag_id: Any = None
    returned_token_ids: Any = None
    task: str | None = None
    skip_reading_prefix_cache: bool | None = None
    extra_kwargs: Any = None
    normalize: bool | None = None

    def __post_init__(self) -> None:
        for name in _UNBUILT:
            if getattr(self, name) is not None:
                raise NotBuiltError(name, getattr(self, name), expected="None", hint="weft has no code for it yet.")
        for name in ("use_activation", "normalize", "skip_reading_prefix_cache"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        if self.normalize is not None:
            if self.use_activation not in (None, self.normalize):
                raise RequestError("normalize", self.normalize, hint="It is the older name: leave it out.",
                                   expected=f"None, or use_activation = {self.use_activation}")
            self.use_activation, self.normalize = self.normalize, None
        if self.task in _UNBUILT_TASKS:
            raise NotBuiltError("task", self.task, expected=" or ".join(BUILT_TASKS),
                                hint="weft has no code for it yet.")
        if self.task is not None and self.task not in BUILT_TASKS:
            raise RequestError("task", self.task, expected=f"{' or '.join(BUILT_TASKS)}, or None")

    def clone(self) -> PoolingParams:
        """A copy, checked again, because fields may have been assigned since."""
        return msgspec.structs.replace(self)
