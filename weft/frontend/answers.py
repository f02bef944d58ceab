"""`AnswerState`: the state of one of a request's n answers (completions): tokens, text, logprobs, finish reason.

It joins the engine's outputs of one sequence with the detokenizer and the stop strings. It knows no other answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.engine.process.messages import EngineOutput, TokenLogprobs
from weft.frontend.extra_rows import ExtraRows
from weft.outputs import CompletionOutput, Logprob
from weft.sampling_params import SamplingParams
from weft.text.detokenizer import IncrementalDetokenizer
from weft.text.stop import StopMatcher
from weft.text.tokenizer import Tokenizer


class AnswerState:
    """One answer (completion), up to now.

    token_ids: all tokens up to the last one. With a stop string the last token is the one that completed the match, so
        the tokens' text is longer than `text`, which ends at the match.
    """

    def __init__(self, index: int, child_id: str, prompt_token_ids: Sequence[int], params: SamplingParams,
                 tokenizer: Tokenizer | None, num_prompt_tokens: int) -> None:
        self.index, self.child_id = index, child_id
        self.token_ids: list[int] = []
        self.text = ""
        self.logprobs: list[dict[int, Logprob]] | None = None if params.logprobs is None else []
        self.cumulative_logprob: float | None = (
            None if params.logprobs is None and params.best_of is None else 0.0)
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None
        self.num_preemptions = 0
        self.extra_rows = None if params.extra_outputs is None else ExtraRows(num_prompt_tokens)
        self._num_sent_rows = 0
        self._min_tokens, self._shows_stop = params.min_tokens, params.include_stop_str_in_output
        self._tokenizer = tokenizer if params.detokenize else None
        self._detokenizer = None if self._tokenizer is None else IncrementalDetokenizer(
            self._tokenizer, prompt_token_ids, skip_special_tokens=params.skip_special_tokens,
            spaces_between_special_tokens=params.spaces_between_special_tokens)
        self._matcher = StopMatcher(params.stop, include_stop_str=self._shows_stop) if params.stop else None
        self._num_sent_tokens = self._num_sent_chars = 0
        self._is_end_sent = False

    @property
    def is_finished(self) -> bool:
        """True once the answer has its finish reason."""
        return self.finish_reason is not None

    def push(self, output: EngineOutput) -> bool:
        """Add a step's output. Returns True if a stop string ended the answer, so the engine must abort its sequence.
        """
        if self.extra_rows is not None and output.extra_outputs:
            self.extra_rows.push(output.extra_outputs)
        last = len(output.new_token_ids) - 1
        self.num_preemptions = max(self.num_preemptions, output.num_preemptions)
        for i, token_id in enumerate(output.new_token_ids):
            is_hidden = i == last and output.finish_reason == "stop" and not self._shows_stop
            self._push_token(token_id, output.logprobs[i] if output.logprobs else None, is_hidden=is_hidden)
            if self.is_finished:
                return output.finish_reason is None
        if output.finish_reason is not None:
            self.finish(output.finish_reason, output.stop_reason)
        return False

    def finish(self, reason: str, stop_reason: int | str | None = None) -> None:
        """End the answer. Adds the text held back for detokenizing and stop strings, cut at a stop string."""
        if self._detokenizer is not None:
            self._show(self._detokenizer.finish())
        if self._matcher is not None:
            self.text += self._matcher.finish()
        if self._matcher is not None and self._matcher.matched is not None:
            self.finish_reason, self.stop_reason = "stop", self._matcher.matched
        else:
            self.finish_reason, self.stop_reason = reason, stop_reason

    def is_due(self, interval: int) -> bool:
        """True if there is something to send: the end, the first token, or `interval` new tokens."""
        num_new = len(self.token_ids) - self._num_sent_tokens
        return not self._is_end_sent and (
            self.is_finished or num_new >= interval or (num_new > 0 and self._num_sent_tokens == 0))

    def mark_sent(self) -> None:
        """Notes that everything up to now has been sent."""
        self._num_sent_tokens, self._num_sent_chars = len(self.token_ids), len(self.text)
        self._num_sent_rows = max(len(self.token_ids) - 1, 0)
        self._is_end_sent = self.is_finished

    def whole(self) -> CompletionOutput:
        """The whole answer up to now."""
        return self._output(0, 0, 0)

    def delta(self) -> CompletionOutput:
        """The tokens and text since the last `mark_sent`."""
        return self._output(self._num_sent_tokens, self._num_sent_chars, self._num_sent_rows)

    def _output(self, first_token: int, first_char: int, first_row: int) -> CompletionOutput:
        return CompletionOutput(
            index=self.index, text=self.text[first_char:], token_ids=self.token_ids[first_token:],
            cumulative_logprob=self.cumulative_logprob,
            logprobs=None if self.logprobs is None else self.logprobs[first_token:],
            finish_reason=self.finish_reason, stop_reason=self.stop_reason,
            extra_outputs=None if self.extra_rows is None else
            self.extra_rows.of_answer(first_row, len(self.token_ids)))

    def _push_token(self, token_id: int, logprobs: TokenLogprobs | None, *, is_hidden: bool) -> None:
        self.token_ids.append(token_id)
        if self.cumulative_logprob is not None and logprobs is not None:
            self.cumulative_logprob += logprobs.logprobs[0]
        if self.logprobs is not None and logprobs is not None:
            self.logprobs.append(logprobs_dict(logprobs, self._tokenizer))
        if self._detokenizer is not None and not is_hidden:
            self._show(self._detokenizer.push((token_id,)))

    def _show(self, text: str) -> None:
        """Adds text. Stop strings match only in the text of tokens after the first `min_tokens`."""
        if self._matcher is None or len(self.token_ids) <= self._min_tokens:
            self.text += text
            return
        self.text += self._matcher.push(text)
        if self._matcher.matched is not None:
            self.finish_reason, self.stop_reason = "stop", self._matcher.matched


def logprobs_dict(logprobs: TokenLogprobs, tokenizer: Tokenizer | None) -> dict[int, Logprob]:
    """{token id: Logprob} in the engine's order. Without a tokenizer decoded_token is None."""
    return {token_id: Logprob(logprob, rank, None if tokenizer is None else tokenizer.token_text(token_id))
            for token_id, logprob, rank in zip(logprobs.token_ids, logprobs.logprobs, logprobs.ranks, strict=True)}
