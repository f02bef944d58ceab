"""Checks a pooling request against the model: its task, and the parameters that depend on what the model can do."""

from __future__ import annotations

from collections.abc import Collection

from weft.engine.process.messages import PoolingInfo
from weft.errors import NotBuiltError, RequestError
from weft.pooling_params import TOKEN_TASKS, PoolingParams

# The task of `LLM.encode` where nothing names one: the first that the model has.
_DEFAULT_TASKS = ("token_embed", "token_classify", "embed", "classify")


def default_task(tasks: Collection[str]) -> str:
    """The task of a request that names none, on a model with these tasks."""
    return next((task for task in _DEFAULT_TASKS if task in tasks), "token_embed")


def refuse_task(task: str | None, tasks: Collection[str]) -> None:
    """RequestError, with a way out, unless a model's tasks have `task`: "generate", or a task of PoolingParams."""
    if task in tasks:
        return
    names, hint = ", ".join(tasks), ""
    if task == "generate":
        hint = "Generating (generate, chat, completions) needs a model with a head for tokens, or runner=\"generate\"."
    elif task is not None and "generate" in tasks:
        convert = "classify" if "classify" in task else "embed"
        hint = f"The model generates: start it with runner=\"pooling\" and convert=\"{convert}\" (--runner, --convert)."
    elif task in ("classify", "token_classify"):
        hint = "A classifier's checkpoint says so by its architecture, or give convert=\"classify\"."
    raise RequestError("task", task, expected=f"one of the model's tasks: {names}", hint=hint)


def complete_pooling(params: PoolingParams, info: PoolingInfo) -> None:
    """Check what depends on the model, and set what the user left to it. RequestError names the field."""
    for name in ("dimensions", "step_tag_id", "returned_token_ids", "extra_kwargs"):
        if getattr(params, name) is not None:
            raise NotBuiltError(name, getattr(params, name), expected="None", hint="weft has no code for it yet.")
    reads = info.reads_prefix_cache and params.task not in TOKEN_TASKS
    if params.skip_reading_prefix_cache is False and info.reads_prefix_cache and not reads:
        raise RequestError("skip_reading_prefix_cache", False, expected="True or None",
                           hint=f"The task {params.task} needs every token's state.")
    params.skip_reading_prefix_cache = not reads or bool(params.skip_reading_prefix_cache)
