"""`PoolerConfig`: how a pooling model pools, where its files should not decide. Names and defaults are vLLM's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from weft.compat.vllm.options.params import Accept, VllmParams
from weft.compat.vllm.options.pooler_config import accept_pooler_config
from weft.errors import ConfigError
from weft.pooling_params import TASKS

SEQ_POOLING = ("CLS", "LAST", "MEAN")
TOK_POOLING = ("ALL", "STEP")


class PoolerConfig(msgspec.Struct, metaclass=VllmParams, kw_only=True, omit_defaults=True, frozen=True):
    """Settings of a model's pooler; None: as its files say. A wrong value is a ConfigError that names the field.

    The constructor also takes the older names normalize, softmax and activation (use_activation), logit_bias
    (logit_mean) and logit_scale (1 / logit_sigma).

    Attributes:
        task: the only task of requests.
        pooling_type: fills one of the next two.
        seq_pooling_type: of a prompt's states into one: CLS (the first), LAST or MEAN.
        tok_pooling_type: whose states a task of tokens gives: ALL, or STEP, those of the tokens `step_tag_id`.
        use_activation: scale vectors to length 1, or make probabilities of logits.
        dimensions: cut vectors to their first numbers (matryoshka).
        enable_chunked_processing: texts that are longer than the context are embedded in parts, and the parts' vectors
            averaged, each by its tokens. max_embed_len: the most tokens of such a text; None: 32 contexts.
        logit_mean, logit_sigma: (logit - mean) / sigma comes before the function of the logits.
        step_tag_id: the token that ends a step. returned_token_ids: the columns of a token's row that are given.
        enable_flash_late_interaction: accepted; weft compares the tokens of two texts in one place only.
    """

    task: str | None = None
    pooling_type: str | None = None
    seq_pooling_type: str | None = None
    tok_pooling_type: str | None = None
    use_activation: bool | None = None
    dimensions: int | None = None
    enable_chunked_processing: bool = False
    max_embed_len: int | None = None
    logit_mean: float | None = None
    logit_sigma: float | None = None
    step_tag_id: int | None = None
    returned_token_ids: tuple[int, ...] | None = None
    enable_flash_late_interaction: bool = True

    accept: ClassVar[Accept] = accept_pooler_config

    def __post_init__(self) -> None:
        if isinstance(self.returned_token_ids, list):
            msgspec.structs.force_setattr(self, "returned_token_ids", tuple(self.returned_token_ids))
        for name, kinds in _KINDS.items():
            value, words = getattr(self, name), kinds.words
            if value is not None and not kinds.fits(value):
                raise _error(name, value, f"{words}, or None")
        if self.pooling_type is not None and (self.seq_pooling_type or self.tok_pooling_type):
            raise _error("pooling_type", self.pooling_type, "None beside seq_pooling_type or tok_pooling_type",
                         "It fills one of them.")
        if self.logit_sigma == 0:
            raise _error("logit_sigma", self.logit_sigma, "a number other than 0: logits are divided by it")
        if self.max_embed_len is not None and not self.enable_chunked_processing:
            raise _error("max_embed_len", self.max_embed_len, "None without enable_chunked_processing",
                         "Without chunked processing no text is longer than max_model_len.")

    @property
    def seq_pooling(self) -> str | None:
        """`seq_pooling_type`, also where `pooling_type` says it."""
        return self.pooling_type if self.pooling_type in SEQ_POOLING else self.seq_pooling_type

    @property
    def tok_pooling(self) -> str | None:
        """`tok_pooling_type`, also where `pooling_type` says it."""
        return self.pooling_type if self.pooling_type in TOK_POOLING else self.tok_pooling_type

    def over(self, values: Mapping[str, Any]) -> PoolerConfig:
        """These settings; those that are None are taken of `values` ({field: value}, from a model's files)."""
        given = {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}
        if self.seq_pooling or self.tok_pooling:
            given.pop("pooling_type", None)
            given |= {name: value for name, value in (("seq_pooling_type", self.seq_pooling),
                                                      ("tok_pooling_type", self.tok_pooling)) if value}
        return PoolerConfig(**{**values, **given})


def read_pooler_config(given: Any, name: str = "pooler_config") -> PoolerConfig | None:
    """The object of an option: a PoolerConfig, its fields as a dictionary, or None. ConfigError for anything else."""
    if given is None or isinstance(given, PoolerConfig):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(name, given, expected="a PoolerConfig, or an object with its fields")
    try:
        return PoolerConfig(**given)
    except TypeError as error:
        raise ConfigError(name, dict(given), expected="the fields of a PoolerConfig", hint=str(error)) from error


@dataclass(frozen=True, slots=True)
class _Kind:
    """The values of a field. options: a closed list; else a type with a lowest value."""

    words: str
    type: type | tuple[type, ...] = str
    options: tuple[str, ...] = ()
    lowest: int | None = None

    def fits(self, value: Any) -> bool:
        if self.options:
            return value in self.options
        if isinstance(value, bool) and self.type is not bool:
            return False
        if isinstance(value, tuple):
            return self.type is tuple and bool(value) and all(type(x) is int and x >= 0 for x in value)
        return isinstance(value, self.type) and (self.lowest is None or value >= self.lowest)


_KINDS = {
    "task": _Kind(f"one of {', '.join(TASKS)}", options=TASKS),
    "pooling_type": _Kind(f"one of {', '.join(SEQ_POOLING + TOK_POOLING)}", options=SEQ_POOLING + TOK_POOLING),
    "seq_pooling_type": _Kind(f"one of {', '.join(SEQ_POOLING)}", options=SEQ_POOLING),
    "tok_pooling_type": _Kind(f"one of {', '.join(TOK_POOLING)}", options=TOK_POOLING),
    "use_activation": _Kind("True or False", bool),
    "dimensions": _Kind("an integer of at least 1", int, lowest=1),
    "enable_chunked_processing": _Kind("True or False", bool),
    "max_embed_len": _Kind("an integer of at least 1", int, lowest=1),
    "logit_mean": _Kind("a number", (int, float)),
    "logit_sigma": _Kind("a number", (int, float)),
    "step_tag_id": _Kind("a token id", int, lowest=0),
    "returned_token_ids": _Kind("columns (integers from 0)", tuple),
    "enable_flash_late_interaction": _Kind("True or False", bool),
}


def _error(name: str, value: Any, expected: str, hint: str = "") -> ConfigError:
    return ConfigError(f"pooler_config.{name}", value, expected=expected, hint=hint)
