"""`PoolingParams`: parameters of a pooling request, which asks for numbers about a prompt instead of a completion.

Names and defaults are vLLM's. The constructor checks all values. The object is plain data and is sent to the engine.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from weft.compat.vllm.options.params import Accept, VllmParams
from weft.compat.vllm.options.pooling import accept_pooling
from weft.errors import RequestError
from weft.field_checks import check_flag
from weft.sampling_params import RequestOutputKind

EMBED_AND_TOKEN_CLASSIFY = "embed&token_classify"
TASKS = ("embed", "classify", "token_embed", "token_classify", "plugin", EMBED_AND_TOKEN_CLASSIFY)
TOKEN_TASKS = ("token_embed", "token_classify")
# Tasks that vLLM had once, and what to ask for instead.
_REMOVED_TASKS = {
    "score": "A score is the task classify of a model with one label, or LLM.score.",
    "encode": "Ask for token_embed or token_classify.",
    "reward": "A reward is the task classify or token_classify, as the model's tasks say.",
}


class PoolingParams(msgspec.Struct, metaclass=VllmParams, kw_only=True, omit_defaults=True, tag="pooling"):
    """How one prompt is pooled. A wrong value is a `RequestError` (a ValueError) that names the field.

    The constructor also takes the other fields of vLLM 0.6 to 0.33, as `compat/vllm/options/pooling.py` says.

    Attributes:
        task: "embed", one vector [E] for the prompt; "token_embed", the final hidden state of each token [T, E];
            "classify", a number for each label; "token_classify", such numbers for each token; "plugin", what a
            programmed model's pooler gives; "embed&token_classify", the vector and behind it the numbers of the tokens,
            [E + T * num_labels], of a model that has both (BGE-M3).
            None: the task of the called method (`LLM.embed`, `LLM.encode`, …).
        use_activation: apply what the model has last: an embedding is scaled to length 1, logits become probabilities.
            None: for "embed" the setting in the model's files, or True if they have none; for "token_embed" False
            (vLLM's default there is True); for labels True.
        dimensions: cut an embedding to its first numbers, for models trained for that (matryoshka); None: all.
        step_tag_id, returned_token_ids: of a model that pools steps (`PoolerConfig`): the token that ends a step, and
            the labels to return. None: those of the model.
        skip_reading_prefix_cache: compute the whole prompt even if the beginning is cached. None: True where every
            token's state is needed.
        extra_kwargs: None or {}: no pooler takes more arguments.
        output_kind: FINAL_ONLY, as a request has one output.
    """

    use_activation: bool | None = None
    dimensions: int | None = None
    step_tag_id: int | None = None
    returned_token_ids: list[int] | None = None
    task: str | None = None
    skip_reading_prefix_cache: bool | None = None
    extra_kwargs: dict[str, Any] | None = None
    output_kind: RequestOutputKind = RequestOutputKind.FINAL_ONLY

    accept: ClassVar[Accept] = accept_pooling

    def __post_init__(self) -> None:
        for name in ("use_activation", "skip_reading_prefix_cache"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        self._check_numbers()
        if self.extra_kwargs is not None and not isinstance(self.extra_kwargs, dict):
            raise RequestError("extra_kwargs", self.extra_kwargs, expected="a dictionary, or None")
        if self.output_kind != RequestOutputKind.FINAL_ONLY:
            raise RequestError("output_kind", self.output_kind, expected="FINAL_ONLY",
                               hint="A pooling request has one output.")
        if self.task is not None and self.task not in TASKS:
            hint = _REMOVED_TASKS.get(self.task, "") if isinstance(self.task, str) else ""
            raise RequestError("task", self.task, expected=f"{', '.join(TASKS)}, or None", hint=hint)

    def _check_numbers(self) -> None:
        if self.dimensions is not None and (type(self.dimensions) is not int or self.dimensions < 1):
            raise RequestError("dimensions", self.dimensions, expected="an integer of at least 1, or None")
        if self.step_tag_id is not None and (type(self.step_tag_id) is not int or self.step_tag_id < 0):
            raise RequestError("step_tag_id", self.step_tag_id, expected="a token id, or None")
        labels = self.returned_token_ids
        if labels is not None and not (isinstance(labels, list) and labels
                                       and all(type(label) is int and label >= 0 for label in labels)):
            raise RequestError("returned_token_ids", labels, expected="a list of labels (integers from 0), or None")

    def clone(self) -> PoolingParams:
        """A copy, checked again, because fields may have been assigned since."""
        return msgspec.structs.replace(self)
