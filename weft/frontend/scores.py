"""Scores of pairs of texts: which prompts a model needs for them, and the scores of what it gives.

A bi-encoder gives a vector for each text, and a score is a cosine; a cross-encoder reads both texts as one prompt. LLM
and the server's routes share `plan_scores`. Knows no engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.engine.process.messages import EngineInfo
from weft.errors import RequestError
from weft.frontend.pooled import as_score
from weft.frontend.prompts import PairPrompt
from weft.outputs import PoolingOutput, PoolingRequestOutput, ScoringOutput, ScoringRequestOutput
from weft.pooling_params import PoolingParams
from weft.text.chat import Renderer

Pooled = PoolingRequestOutput[PoolingOutput]


@dataclass(frozen=True, slots=True)
class ScorePlan(ABC):
    """What to pool for the scores of pairs. prompts: in the order in which `scores` wants their outputs. task: of all.

    uses_activation: what the task's requests ask for, unless the user says otherwise.
    """

    prompts: list[Any]
    task: str
    uses_activation: bool | None = None

    @abstractmethod
    def scores(self, outputs: Sequence[Pooled]) -> list[ScoringRequestOutput]:
        """A score for each pair, in order; None, with an error, for a pair of which a prompt failed."""


class _CrossEncoder(ScorePlan):
    """Each prompt is a pair."""

    def scores(self, outputs: Sequence[Pooled]) -> list[ScoringRequestOutput]:
        return [as_score(output) for output in outputs]


@dataclass(frozen=True, slots=True)
class _Apart(ScorePlan):
    """Each prompt is a text. pairs: the places of both texts of each pair among the prompts."""

    pairs: tuple[tuple[int, int], ...] = ()

    def scores(self, outputs: Sequence[Pooled]) -> list[ScoringRequestOutput]:
        return [self._score(outputs[first], outputs[second]) for first, second in self.pairs]

    def _score(self, first: Pooled, second: Pooled) -> ScoringRequestOutput:
        error, score = first.error or second.error, None
        if first.outputs is not None and second.outputs is not None:
            score = ScoringOutput(self._compare(first.outputs, second.outputs))
        return ScoringRequestOutput(
            request_id=f"{first.request_id}_{second.request_id}", outputs=score, error=error,
            prompt_token_ids=first.prompt_token_ids + second.prompt_token_ids,
            num_cached_tokens=first.num_cached_tokens + second.num_cached_tokens)

    @abstractmethod
    def _compare(self, first: PoolingOutput, second: PoolingOutput) -> float: ...


class _BiEncoder(_Apart):
    """The cosine of two vectors."""

    def _compare(self, first: PoolingOutput, second: PoolingOutput) -> float:
        a, b = first.data.double(), second.data.double()
        norms = float(a.norm() * b.norm())
        return float(a @ b) / norms if norms else 0.0


class _LateInteraction(_Apart):
    """The best match of each token of the first text among those of the second, summed (MaxSim, arXiv:2004.12832)."""

    def _compare(self, first: PoolingOutput, second: PoolingOutput) -> float:
        return float((first.data.double() @ second.data.double().T).amax(dim=1).sum())


def plan_scores(data_1: Any, data_2: Any, info: EngineInfo,
                template: Callable[[str, str], Any] | None = None) -> ScorePlan:
    """The plan for the pairs of two texts, of one text with each of several, or of two lists of equal length.

    template: makes the prompt of a pair; None: as the tokenizer writes pairs. RequestError for one where no model reads
    both texts together.
    RequestError for other lengths or forms, and for a model that compares no texts.
    """
    first, second = _texts("data_1", data_1), _texts("data_2", data_2)
    if len(first) not in (1, len(second)):
        raise RequestError("data_1", f"{len(first)} texts", hint=f"data_2 has {len(second)}.",
                           expected="one text, or as many as data_2 has")
    if template is not None and info.pooling.score_type != "cross-encoder":
        raise RequestError("chat_template", "a template", expected="None for a model that does not read both texts",
                           hint=f"Its scores are those of a {info.pooling.score_type or 'model without pairs'}.")
    of_first = [0] * len(second) if len(first) == 1 else range(len(first))
    match info.pooling.score_type:
        case "cross-encoder":
            make = PairPrompt if template is None else template
            pairs = [make(first[a], text) for a, text in zip(of_first, second, strict=True)]
            return _CrossEncoder(pairs, "classify")
        case "bi-encoder":
            places = tuple((a, len(first) + b) for b, a in enumerate(of_first))
            return _BiEncoder(first + second, "embed", None, places)
        case "late-interaction":
            places = tuple((a, len(first) + b) for b, a in enumerate(of_first))
            return _LateInteraction(first + second, "token_embed", True, places)
        case _:
            raise RequestError("task", "score", expected="a model that embeds, or a classifier with one label",
                               hint=f"This model's tasks: {', '.join(info.tasks)}"
                               f"{f', with {info.pooling.num_labels} labels' if info.pooling.num_labels else ''}.")


def pair_prompt(renderer: Renderer, chat_template: str | None, first: str, second: str, *,
                instruction: str | None = None, variables: Mapping[str, Any] | None = None) -> str | list[int]:
    """The prompt of two texts by a template, which sees them as messages with the roles query and document.

    chat_template: None: the renderer's. instruction: what the pair is read for, a message with the role system before
    the others. variables: of the template.
    """
    messages = [{"role": "query", "content": first}, {"role": "document", "content": second}]
    if instruction is not None:
        messages.insert(0, {"role": "system", "content": instruction})
    return renderer.render(messages, chat_template=chat_template, add_generation_prompt=False,
                           chat_template_kwargs=variables)


def score_params(given: Any, plan: ScorePlan) -> PoolingParams:
    """The parameters of all prompts of a plan: the user's, or the defaults."""
    if given is not None and not isinstance(given, PoolingParams):
        raise RequestError("pooling_params", given, expected="a PoolingParams, or None")
    params = PoolingParams() if given is None else given.clone()
    if params.use_activation is None:
        params.use_activation = plan.uses_activation
    return params


def _texts(name: str, data: Any) -> list[str]:
    texts = [data] if isinstance(data, str) else data
    is_list = isinstance(texts, Sequence) and not isinstance(texts, bytes | bytearray)
    if not is_list or not texts or not all(isinstance(text, str) and text for text in texts):
        raise RequestError(name, data, expected="a text that is not empty, or a list of such texts")
    return list(texts)
