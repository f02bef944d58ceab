"""Checks a pooling request: `pooling_params` makes its parameters, the rest compares them with what the model does."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from weft.engine.process.messages import PoolingInfo
from weft.errors import NotBuiltError, RequestError
from weft.frontend.prompts import Prompt
from weft.frontend.tokenization import Tokenization
from weft.pooling_params import EMBED_AND_TOKEN_CLASSIFY, TOKEN_TASKS, PoolingParams
from weft.text.pairs import encode_pair
from weft.text.tokenizer import Tokenizer

# The task of `LLM.encode` where nothing names one: the first that the model has.
_DEFAULT_TASKS = ("token_embed", "token_classify", "embed", "classify", "plugin")


def default_task(tasks: Collection[str]) -> str:
    """The task of a request that names none, on a model with these tasks."""
    return next((task for task in _DEFAULT_TASKS if task in tasks), "token_embed")


def pooling_params(given: Any, task: str | None, tasks: Collection[str]) -> PoolingParams:
    """A copy of the user's parameters (None: the defaults) with their task set.

    The task is the parameters' own, else `task`, else the model's default among its `tasks`. RequestError if the
    parameters have another task than `task`.
    """
    if given is None:
        given = PoolingParams()
    if not isinstance(given, PoolingParams):
        raise RequestError("pooling_params", given, expected="a PoolingParams, or None")
    params = given.clone()
    if task is not None and params.task not in (None, task):
        raise RequestError("task", params.task, expected=f"{task}, or None")
    params.task = params.task or task or default_task(tasks)
    return params.clone()


def refuse_task(task: str | None, tasks: Collection[str]) -> None:
    """RequestError, with a way out, unless a model's tasks have `task`: "generate", or a task of PoolingParams."""
    if task in tasks:
        return
    names, hint = ", ".join(tasks), ""
    if task == "generate":
        hint = "Generating (generate, chat, completions) needs a model with a head for tokens, or runner=\"generate\"."
    elif task is not None and "generate" in tasks:
        convert = "classify" if "classify" in task else "embed"
        hint = (f"The model generates: start it with runner=\"pooling\" and convert=\"{convert}\" (--runner, "
                "--convert). `weft serve --models FILE` serves both, as two entries.")
    elif task in ("classify", "token_classify"):
        hint = "A classifier's checkpoint says so by its architecture, or give convert=\"classify\"."
    raise RequestError("task", task, expected=f"one of the model's tasks: {names}", hint=hint)


def pair_ids(tokenizer: Tokenizer, pair: Prompt, how: Tokenization, max_len: int) -> tuple[list[int], list[int]]:
    """(token ids, token types) of a PairPrompt, cut as asked. RequestError for a pair without tokens."""
    assert pair.text is not None and pair.second_text is not None, "a pair has two texts"
    ids, types = encode_pair(tokenizer, pair.text, pair.second_text, add_special_tokens=how.add_special_tokens,
                             max_len=how.limit(max_len), from_left=how.truncation_side == "left")
    if not ids:
        raise RequestError("prompt", [pair.text, pair.second_text], expected="two texts with at least one token")
    return ids, types


def check_types(types: Sequence[int], num_token_types: int) -> None:
    """RequestError for a token type that the model has no row for."""
    if types and max(types) >= max(num_token_types, 1):
        expected = f"types from 0 to {num_token_types - 1}" if num_token_types else "None: the model has no types"
        raise RequestError("token_type_ids", max(types), expected=expected)


def _check_dimensions(params: PoolingParams, info: PoolingInfo) -> None:
    size = params.dimensions
    if size is None:
        return
    if not info.embedding_size or params.task not in ("embed", "token_embed", EMBED_AND_TOKEN_CLASSIFY):
        raise RequestError("dimensions", size, expected="None for a task without vectors")
    if not info.is_matryoshka:
        raise RequestError("dimensions", size, expected="None for a model that is not trained for shorter vectors",
                           hint="Its config has neither is_matryoshka nor matryoshka_dimensions; hf_overrides="
                           "{\"is_matryoshka\": true} says that it is.")
    most = info.num_columns if params.task == "token_embed" else info.embedding_size
    if size > most:
        raise RequestError("dimensions", size, expected=f"1 to {most}, the size of the vectors")
    if info.dimensions and size not in info.dimensions:
        raise RequestError("dimensions", size, expected=f"one of {', '.join(map(str, info.dimensions))}, the sizes "
                           "that the model is trained for")


def complete_pooling(params: PoolingParams, info: PoolingInfo) -> None:
    """Check what depends on the model, and set what the user left to it. RequestError names the field."""
    _check_dimensions(params, info)
    if params.step_tag_id is not None and not info.pools_steps:
        raise RequestError("step_tag_id", params.step_tag_id, expected="None for a model that does not pool steps",
                           hint="Start the engine with pooler_config={\"pooling_type\": \"STEP\", …}.")
    columns = params.returned_token_ids
    most = info.num_labels if params.task == "token_classify" else info.num_columns
    if columns is not None and (params.task not in TOKEN_TASKS or max(columns) >= most):
        raise RequestError("returned_token_ids", columns, expected=f"columns from 0 to {most - 1}, for a "
                           f"task of tokens ({' or '.join(TOKEN_TASKS)})")
    if params.extra_kwargs:
        raise NotBuiltError("extra_kwargs", params.extra_kwargs, expected="None",
                            hint="No pooler takes more arguments yet.")
    reads = info.reads_prefix_cache and params.task not in TOKEN_TASKS
    if params.skip_reading_prefix_cache is False and info.reads_prefix_cache and not reads:
        raise RequestError("skip_reading_prefix_cache", False, expected="True or None",
                           hint=f"The task {params.task} needs every token's state.")
    params.skip_reading_prefix_cache = not reads or bool(params.skip_reading_prefix_cache)
