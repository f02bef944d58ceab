"""An engine with the face of `AsyncLLM` that says what a test tells it to say: for failures that a real one has rarely.

Its tokens are bytes. It uses weft's own input and output processing, so prompts and parameters are checked as ever.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from toy_engine import EOS, make_config, save_tokenizer

from weft.config.engine_config import TokenizerConfig
from weft.engine.process.messages import EngineInfo, EngineOutput, EngineStats, TokenLogprobs
from weft.frontend.inputs import InputProcessor
from weft.frontend.lanes import Lanes
from weft.frontend.outputs import RequestState
from weft.frontend.prompts import parse_prompt
from weft.outputs import RequestOutput
from weft.text.chat import ChatRenderer
from weft.text.fill_in_middle import FillInMiddle
from weft.text.tokenizer import Tokenizer, load_tokenizer

MAX_MODEL_LEN = 512
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
          "{% if not (loop.last and continue_final_message) %}<|im_end|>\n{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


@functools.cache
def byte_tokenizer(chat_template: str = CHATML) -> Tokenizer:
    """Token i is byte i; 256 ends a text, 257 and 258 are the marks of ChatML."""
    with tempfile.TemporaryDirectory() as directory:
        return load_tokenizer(TokenizerConfig(path=str(save_tokenizer(Path(directory))), chat_template=chat_template))


# A call as hermes' format has it.
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def text_of(engine: FakeEngine) -> str:
    """The prompt that the engine got last."""
    return engine.tokenizer.decode(engine.prompts[-1], skip_special_tokens=False)


def chatml(*messages: tuple[str, str], end: str = "<|im_start|>assistant\n") -> str:
    """A chat of (role, text) as CHATML renders it."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in messages) + end


class FakeEngine:
    """Answers every prompt with `reply`, a token each `step_seconds`, then ends.

    reply: several are the answers to one prompt after the other.
    refuse: raised when a request starts. fail_at: after so many tokens `error` is raised. tokenizer: True: of bytes.
    """

    def __init__(self, reply: str | list[str] = "Hello, world", *, step_seconds: float = 0.0,
                 refuse: Exception | None = None, fail_at: int | None = None, error: Exception | None = None,
                 tokenizer: Tokenizer | bool = True, chat_template: str = CHATML, **model) -> None:
        self.config = replace(make_config(None, max_model_len=MAX_MODEL_LEN, **model),
                              served_model_names=("toy", "toy-alias"))
        self.info = EngineInfo(max_model_len=MAX_MODEL_LEN, num_blocks=[64], block_size=16, weight_bytes=1,
                               activation_bytes=1, kv_cache_bytes=1, load_seconds=0.5, kernels={},
                               tasks=["generate"], prompt_embeds_size=None)
        self.stats = EngineStats()
        self.errored = self.is_held = False
        self.tokenizer = byte_tokenizer(chat_template) if tokenizer is True else tokenizer or None
        self.renderer = ChatRenderer(self.tokenizer) if self.tokenizer else None
        self.lanes = Lanes()
        self.sleep_state = "awake"
        self.started: list[str] = []
        self.aborted: list[str] = []
        self.cut: set[str] = set()      # requests that the server asked to end
        self.prompts: list[list[int]] = []
        self.clients: list[str | None] = []
        self.params = None
        self._replies, self._step_seconds = [reply] if isinstance(reply, str) else list(reply), step_seconds
        self._reply: list[int] = []
        self._refuse, self._fail_at, self._error = refuse, fail_at, error
        self._inputs = InputProcessor(self.config, self.tokenizer, self.info)
        self._observers = []

    def says(self, *replies: str, step_seconds: float = 0.0) -> None:
        """Answer the next prompts with `replies`, the last of them also all later ones. Forgets earlier prompts."""
        self._replies, self._step_seconds = list(replies), step_seconds
        self.prompts.clear()

    def prompt_texts(self) -> list[str]:
        """The prompts so far as text."""
        return [self.tokenizer.decode(prompt, skip_special_tokens=False) for prompt in self.prompts]

    def add_observer(self, observer) -> None:
        self._observers.append(observer)

    async def check_health(self) -> None:
        if self._refuse is not None:
            raise self._refuse

    def stalled(self, limit_s: float) -> None:
        return None

    async def encode_prompt(self, prompt, *, add_special_tokens: bool = True, must_fit: bool = False) -> list[int]:
        return self._inputs.encode(parse_prompt(prompt), add_special_tokens=add_special_tokens,
                                   limit=self._inputs.limit if must_fit else None)

    async def fill_in_middle(self, before: str, after: str, *, add_special_tokens: bool = True):
        return FillInMiddle(self.tokenizer).prompt(before, after, add_special_tokens=add_special_tokens)

    async def read_prompt_embeds(self, embeds):
        return self._inputs.read_prompt_embeds(embeds)

    async def reset_prefix_cache(self) -> bool:
        return True

    async def reset_mm_cache(self) -> None:
        """It keeps no rows of media."""

    async def abort(self, request_id: str) -> None:
        self.cut.add(request_id)

    async def generate(self, prompt, params, request_id: str, *, priority: int = 0,
                       client: str | None = None) -> AsyncIterator[RequestOutput]:
        if self._refuse is not None:
            raise self._refuse
        prepared = self._inputs.prepare(request_id, prompt, params, priority=priority)
        self.params = prepared.params
        state = RequestState(prepared, self.tokenizer)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        self._reply = [*reply.encode(), EOS]
        self.started.append(request_id)
        self.prompts.append(prepared.prompt_token_ids)
        self.clients.append(client)
        try:
            async for output in self._steps(state, prepared.children[0].params.max_tokens):
                yield output
        finally:
            if not state.is_finished:
                self.aborted.append(request_id)
                state.finish("abort", time.monotonic())
                self._tell_finished(state)

    async def _steps(self, state: RequestState, max_tokens: int) -> AsyncIterator[RequestOutput]:
        for step in range(max_tokens):
            await asyncio.sleep(self._step_seconds)
            if step == self._fail_at:
                raise self._error
            now = time.monotonic()
            if state.request_id in self.cut:
                state.finish("abort", now)
            for answer in state.answers:
                if not answer.is_finished:
                    state.push(self._output(answer.child_id, state, step, max_tokens), now)
            output = state.take_output(now)
            if state.is_finished:
                self._tell_finished(state)
            if output is not None:
                yield output
            if state.is_finished:
                return

    def _tell_finished(self, state: RequestState) -> None:
        for observer in self._observers:
            observer.on_finished(state.snapshot(), state.params)

    def _output(self, child_id: str, state: RequestState, step: int, max_tokens: int) -> EngineOutput:
        token_id = self._reply[step] if step < len(self._reply) else ord("x")
        reason = "stop" if token_id == EOS else "length" if step + 1 == max_tokens else None
        output = EngineOutput(request_id=child_id, new_token_ids=[token_id], finish_reason=reason,
                              first_scheduled_time=time.monotonic())
        if state.params.logprobs is not None:
            output.logprobs = [logprobs_of(token_id, state.params.logprobs)]
        if state.params.prompt_logprobs is not None and step == 0:
            output.prompt_logprobs = [logprobs_of(token_id, state.params.prompt_logprobs)
                                      for token_id in self.prompts[-1][1:]]
        return output


def logprobs_of(token_id: int, num_top: int) -> TokenLogprobs:
    """The token is the second likeliest; 'a' leads, and 'z' comes third with probability 0."""
    likeliest = [ord("a"), token_id, ord("z")][:num_top]
    token_ids = [token_id, *(other for other in likeliest if other != token_id)]
    values = {ord("a"): (-0.5, 1), ord("z"): (float("-inf"), 3), token_id: (-1.25, 2)}
    return TokenLogprobs(token_ids, [values[i][0] for i in token_ids], [values[i][1] for i in token_ids])
