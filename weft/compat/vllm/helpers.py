"""Small helpers of vLLM that scripts import."""

from __future__ import annotations

import enum
import gc
import itertools
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weft.errors import ConfigError, NotBuiltError


def random_uuid() -> str:
    """32 hexadecimal digits, for a request's id."""
    return uuid.uuid4().hex


def token_inputs(prompt_token_ids: list[int], token_type_ids: list[int] | None = None, prompt: str | None = None,
                 cache_salt: str | None = None) -> dict[str, Any]:
    """The prompt as tokens, in the form that inputs have in vLLM. NotBuiltError for token_type_ids."""
    if token_type_ids is not None:
        raise NotBuiltError("token_inputs.token_type_ids", "set", expected="None")
    given = {"prompt": prompt, "cache_salt": cache_salt}
    return {"type": "token", "prompt_token_ids": prompt_token_ids} | {k: v for k, v in given.items() if v is not None}


def zip_enc_dec_prompts(enc_prompts: Iterable[Any], dec_prompts: Iterable[Any],
                        mm_processor_kwargs: None = None) -> list[dict[str, Any]]:
    """Pairs of an encoder's and a decoder's prompt. NotBuiltError for mm_processor_kwargs."""
    if mm_processor_kwargs is not None:
        raise NotBuiltError("zip_enc_dec_prompts.mm_processor_kwargs", mm_processor_kwargs, expected="None",
                            hint="Give them in each encoder prompt.")
    return [{"encoder_prompt": first, "decoder_prompt": second} for first, second in zip(enc_prompts, dec_prompts)]  # noqa: B905


def get_tokenizer(tokenizer_name: str | Path, *args: Any, tokenizer_mode: str = "auto", trust_remote_code: bool = False,
                  revision: str | None = None, download_dir: str | None = None, **kwargs: Any) -> Any:
    """The tokenizer of Transformers for a directory or a name of the hub."""
    if tokenizer_mode not in ("auto", "hf", "slow"):
        raise NotBuiltError("get_tokenizer.tokenizer_mode", tokenizer_mode, expected="auto, hf or slow")
    from transformers import AutoTokenizer

    if tokenizer_mode == "slow":
        kwargs["use_fast"] = False
    return AutoTokenizer.from_pretrained(str(tokenizer_name), *args, trust_remote_code=trust_remote_code,
                                         revision=revision, cache_dir=download_dir, **kwargs)


class Counter:
    """Counts 0, 1, 2, … with `next`."""

    def __init__(self, start: int = 0) -> None:
        self._numbers = itertools.count(start)

    def __next__(self) -> int:
        return next(self._numbers)


class UsageContext(enum.StrEnum):
    """Who makes an engine; nothing in weft depends on it."""

    UNKNOWN_CONTEXT = "UNKNOWN_CONTEXT"
    LLM_CLASS = "LLM_CLASS"
    API_SERVER = "API_SERVER"
    OPENAI_API_SERVER = "OPENAI_API_SERVER"
    OPENAI_BATCH_RUNNER = "OPENAI_BATCH_RUNNER"
    ENGINE_CONTEXT = "ENGINE_CONTEXT"


def cleanup_dist_env_and_memory(shutdown_ray: bool = False) -> None:
    """Collect garbage, which frees the models that nothing refers to any more. weft has no process groups to end."""
    gc.collect()


def destroy_model_parallel() -> None:
    """Nothing to end: one process runs a whole model."""


def destroy_distributed_environment() -> None:
    """Nothing to end: one process runs a whole model."""


def load_chat_template(chat_template: Path | str | None, *, is_literal: bool = False) -> str | None:
    """The text of a template that is given as itself or as the path of a file."""
    if chat_template is None or is_literal:
        return None if chat_template is None else str(chat_template)
    try:
        return Path(chat_template).read_text(encoding="utf-8")
    except OSError as error:
        if any(letter in str(chat_template) for letter in "{}\n"):
            return str(chat_template)
        raise ConfigError("chat_template", str(chat_template), expected="a template or the path of one") from error
