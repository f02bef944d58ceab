"""Scores of pairs of texts on the engine: the forms in which clients send texts, and `run_pairs`. Knows no answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from weft.frontend.lanes import num_chars
from weft.frontend.pooling_inputs import default_task
from weft.frontend.scores import pair_prompt, plan_scores, score_params
from weft.outputs import ScoringRequestOutput
from weft.pooling_params import PoolingParams
from weft.server.errors import ApiError, bad_field, renamed_fields
from weft.server.openai.prompts import check_trusted
from weft.server.pooling.inputs import Inputs, check_count
from weft.server.pooling.job import Output, run_inputs
from weft.server.pooling.schemas import PairsBody, activation_of
from weft.server.served import ServedModel
from weft.server.tasks import ROUTES_OF


@dataclass(frozen=True, slots=True)
class Texts:
    """One side of pairs. field: its name in the body. is_list: the client sent a list."""

    field: str
    texts: list[str]
    is_list: bool

    @property
    def places(self) -> list[str]:
        """The path of each text in the body."""
        return [f"{self.field}.{i}" for i in range(len(self.texts))] if self.is_list else [self.field]


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a request. outputs: what the engine gave, for the usage."""

    response_id: str
    scores: list[float]
    outputs: list[Output]


def texts_of(field: str, value: Any) -> Texts:
    """The texts in `field`: one or a list. ApiError 400 names the wrong one."""
    if not isinstance(value, list):
        return Texts(field, [_text(field, value)], is_list=False)
    if not value:
        raise bad_field(field, value, expected="a text, or a list of texts that is not empty")
    check_count(field, len(value))
    return Texts(field, [_text(f"{field}.{i}", item) for i, item in enumerate(value)], is_list=True)


def _text(place: str, value: Any) -> str:
    """A text: itself, {"text": text}, or {"content": [{"type": "text", "text": text}]}."""
    found = value
    if isinstance(found, dict) and isinstance(found.get("content"), list) and len(found["content"]) == 1:
        found = found["content"][0]
    if isinstance(found, dict):
        if found.get("type", "text") != "text":
            raise ApiError(501, f"{place}: weft reads text only, not {str(found['type'])[:40]!r}.", place)
        found = found.get("text")
    if not isinstance(found, str) or not found:
        raise bad_field(place, value, expected='a text that is not empty, or {"text": text}')
    return found


async def run_pairs(served: ServedModel, request: Request, body: PairsBody, first: Texts, second: Texts, *,
                    prefix: str) -> Scored:
    """The score of each pair: of one text with each of the others, or of two lists of equal length."""
    info = served.engine.info
    if not info.pooling.score_type:
        raise _no_scores(request.url.path, served)
    if len(first.texts) not in (1, len(second.texts)):
        raise bad_field(first.field, f"{len(first.texts)} texts", hint=f"{second.field} has {len(second.texts)}.",
                        expected=f"one text, or as many as {second.field} has")
    queries = await _shortened(served, first, "max_tokens_per_query", body.max_tokens_per_query)
    documents = await _shortened(served, second, "max_tokens_per_doc", body.max_tokens_per_doc)
    template = _template(served, body)
    lanes = served.engine.lanes
    plan = plan_scores(queries, documents, info) if template is None else await lanes.run(
        lambda: plan_scores(queries, documents, info, template), num_chars([*queries, *documents]))
    places = second.places if len(plan.prompts) == len(second.texts) else first.places + second.places
    params = score_params(PoolingParams(task=plan.task, use_activation=activation_of(body)), plan)
    with renamed_fields({"data_1": first.field, "data_2": second.field}):
        response_id, outputs = await run_inputs(
            served, request, body, Inputs(plan.prompts, places, body.add_special_tokens), params, prefix=prefix)
    scored = await served.work.numbers.run(plan.scores, outputs)      # may import torch, and compares many vectors
    return Scored(response_id, list(map(_number, scored)), outputs)


def _template(served: ServedModel, body: PairsBody) -> Callable[[str, str], Any] | None:
    """What makes the prompt of a pair: the body's template, or the server's option; None: the tokenizer does.

    ApiError 400 for a template that the server does not trust, and for what only a template reads.
    """
    check_trusted(served, body.chat_template)
    reads_pairs = served.engine.info.pooling.score_type == "cross-encoder"
    has_own = reads_pairs and served.engine.config.tokenizer.chat_template is not None
    renderer = served.engine.renderer
    if renderer is None or (body.chat_template is None and not has_own):
        for name in ("instruction", "chat_template_kwargs", "chat_template"):
            if getattr(body, name):
                raise bad_field(name, getattr(body, name), expected="none without a template of pairs",
                                hint="Start the server with --chat-template FILE, a template that reads it.")
        return None
    return lambda first, second: pair_prompt(renderer, body.chat_template, first, second, instruction=body.instruction,
                                             variables=body.chat_template_kwargs)


def _number(output: ScoringRequestOutput) -> float:
    assert output.outputs is not None, "a job gives outputs with numbers only"
    return output.outputs.score


async def _shortened(served: ServedModel, side: Texts, field: str, count: int) -> list[str]:
    """The texts with at most `count` tokens each; 0: as they are. ApiError 400 for a limit that is none, in `field`."""
    if count < 0:
        raise bad_field(field, count, expected="an integer of at least 0")
    if count == 0:
        return side.texts
    tokenizer = served.require_tokenizer()

    def shorten() -> list[str]:
        found = []
        for place, text in zip(side.places, side.texts, strict=True):
            ids = tokenizer.encode(text, add_special_tokens=False)
            kept = text if len(ids) <= count else tokenizer.decode(ids[:count])
            if not kept:
                raise bad_field(field, count, expected="more", hint=f"The first {count} of {place} have no text.")
            found.append(kept)
        return found

    return await served.engine.lanes.run(shorten, num_chars(side.texts))


def _no_scores(path: str, served: ServedModel) -> ApiError:
    info = served.engine.info
    labels = f" (it has {info.pooling.num_labels} labels)" if info.pooling.num_labels else ""
    task = "generate" if "generate" in info.tasks else default_task(info.tasks)
    return ApiError(400, f"{path} needs a model that makes embeddings, or a classifier with one label; the tasks of "
                    f"this server's model are {', '.join(info.tasks)}{labels}: send {', '.join(ROUTES_OF[task][1])}.",
                    "model")
