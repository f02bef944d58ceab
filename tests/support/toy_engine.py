"""A toy engine core with known tokens, and a byte tokenizer: for tests of everything above the engine.

Token i is byte i. The toy recites the alphabet from the prompt's last letter: after "c" come "d", "e", …, and after "z"
the end-of-text token. With a temperature it draws letters from (seed, position). Bytes in a prompt make it misbehave:

    %  is refused when it is added          ^  finds the queue full
    !  fails after two tokens               $  ends the process after two tokens, at every attempt
    #  ends the process after two tokens, once

A row of prompt_embeds is [byte, 0]. PoolingCore is the toy that does not generate: a token's state is [byte, position].
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np

from weft.config.engine_config import (
    CacheConfig,
    EngineConfig,
    LoadConfig,
    ModelConfig,
    SchedulerConfig,
    TokenizerConfig,
)
from weft.engine.process.messages import (
    EngineInfo,
    EngineOutput,
    EngineRequest,
    EngineStats,
    StepResult,
    TokenLogprobs,
    WireTensor,
)
from weft.errors import ConfigError, QueueFullError, RequestError

EOS = 256
VOCAB_SIZE = 259
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
EMBEDS_SIZE = 2
CORE = "toy_engine:ToyCore"
POOLING_CORE = "toy_engine:PoolingCore"
SLOW_CORE = "toy_engine:SlowCore"
BROKEN_CORE = "toy_engine:broken_core"
DYING_CORE = "toy_engine:dying_core"


class ToyCore:
    """An engine core. Runs all sequences in every step."""

    step_seconds = 0.0
    tasks = ("generate",)

    def __init__(self, config: EngineConfig) -> None:
        self._new: list[str] = []
        self._max_logprobs = config.model.vocab_size
        self._requests: dict[str, tuple[EngineRequest, list[int]]] = {}      # with the tokens so far
        self.info = EngineInfo(max_model_len=config.model.max_model_len, num_blocks=[8], block_size=16, weight_bytes=0,
                               activation_bytes=0, kv_cache_bytes=0, load_seconds=0.0, kernels={},
                               tasks=list(self.tasks), prompt_embeds_size=EMBEDS_SIZE)
        self.stats = EngineStats()
        self.on_start = lambda request_ids: None

    @property
    def has_unfinished(self) -> bool:
        return bool(self._requests)

    def add(self, request: EngineRequest) -> None:
        prompt = bytes_of(request)
        if ord("%") in prompt:
            raise RequestError("prompt", "%", expected="something else")
        if ord("^") in prompt:
            raise QueueFullError("3 requests wait, 3 may.")
        self._requests[request.request_id] = (request, list(request.output_token_ids))
        self._new.append(request.request_id)

    def take_rejected(self) -> list:
        return []

    def abort(self, request_ids: Iterable[str]) -> None:
        for request_id in request_ids:
            self._requests.pop(request_id, None)

    def step(self) -> StepResult:
        self.on_start(self._new)
        self._new = []
        time.sleep(self.step_seconds)
        outputs = [self._advance(request, tokens) for request, tokens in list(self._requests.values())]
        for output in outputs:
            if output.finish_reason is not None:
                del self._requests[output.request_id]
        self.stats.num_steps += 1
        self.stats.step_tokens = len(outputs)
        self.stats.generation_tokens += len(outputs)
        self.stats.num_running = len(self._requests)
        return StepResult(outputs=outputs, stats=self.stats)

    def reset_prefix_cache(self) -> bool:
        return not self._requests

    def collective_rpc(self, method: str, args=(), kwargs=None) -> list:
        if method == "fail":
            raise AttributeError("the worker has no method 'fail'")
        return [[method, list(args), dict(kwargs or {})]]

    def apply_model(self, func) -> list:
        return [func("the toy model")]

    def close(self) -> None:
        self._requests.clear()

    def _advance(self, request: EngineRequest, tokens: list[int]) -> EngineOutput:
        prompt, params = bytes_of(request), request.params
        if len(tokens) == 2 and (ord("$") in prompt or (ord("#") in prompt and not request.output_token_ids)):
            os._exit(9)
        if len(tokens) == 2 and ord("!") in prompt:
            return EngineOutput(request_id=request.request_id, finish_reason="error", error="RuntimeError: a fault")
        is_first = not tokens
        token_id = next_token([*prompt, *tokens], request, len(tokens))
        tokens.append(token_id)
        reason = stop_reason = None
        if token_id in request.eos_token_ids and not params.ignore_eos:
            reason = "stop"
        elif token_id in params.stop_token_ids:
            reason, stop_reason = "stop", token_id
        elif len(tokens) == params.max_tokens:
            reason = "length"
        return EngineOutput(
            request_id=request.request_id, new_token_ids=[token_id], finish_reason=reason, stop_reason=stop_reason,
            logprobs=None if params.logprobs is None else [logprobs(token_id, params.logprobs)],
            prompt_logprobs=[logprobs(token, params.prompt_logprobs) for token in prompt[1:]]
            if is_first and params.prompt_logprobs is not None else None, first_scheduled_time=time.monotonic())


class PoolingCore(ToyCore):
    """Gives each token's state, or for "embed" the sum of them, instead of generating."""

    tasks = ("embed", "token_embed")

    def _advance(self, request: EngineRequest, tokens: list[int]) -> EngineOutput:
        if ord("!") in request.prompt_token_ids:
            return EngineOutput(request_id=request.request_id, finish_reason="error", error="RuntimeError: a fault")
        states = np.array([[byte, i] for i, byte in enumerate(request.prompt_token_ids)], dtype=np.float32)
        pooled = states if request.params.task == "token_embed" else states.sum(0)
        return EngineOutput(request_id=request.request_id, finish_reason="stop",
                            pooled=WireTensor("float32", list(pooled.shape), pooled.tobytes()))


class SlowCore(ToyCore):
    """Five milliseconds a step: time for a test to act while a request runs."""

    step_seconds = 0.005


def broken_core(config: EngineConfig) -> ToyCore:
    """A core that cannot start."""
    raise ConfigError("rope_scaling.rope_type", "spiral", expected="default", source="config.json")


def dying_core(config: EngineConfig) -> ToyCore:
    """A core whose process ends while it starts."""
    os._exit(7)


def bytes_of(request: EngineRequest) -> list[int]:
    """The prompt, also where it was given as embeddings."""
    embeds = request.prompt_embeds
    if embeds is None:
        return request.prompt_token_ids
    return np.frombuffer(embeds.data, dtype=embeds.dtype).reshape(embeds.shape)[:, 0].astype(int).tolist()


def next_token(token_ids: list[int], request: EngineRequest, position: int) -> int:
    """The alphabet's next letter or, with a temperature, a letter by seed and position."""
    if not request.params.is_greedy:
        return ord("a") + blake2b(f"{request.params.seed}:{position}".encode()).digest()[0] % 26
    last = token_ids[-1]
    return EOS if last == ord("z") else last + 1 if ord("a") <= last < ord("z") else ord("a")


def logprobs(token_id: int, count: int) -> TokenLogprobs:
    """The token with -0.5, then those after it with -1, -2, …"""
    ids = [(token_id + i) % VOCAB_SIZE for i in range(max(count, 1))]
    return TokenLogprobs(ids, [-0.5, *(-float(i) for i in range(1, len(ids)))], list(range(1, len(ids) + 1)))


def save_tokenizer(directory: Path) -> Path:
    """Token i is byte i; 256 ends a text, 257 and 258 are the marks of ChatML."""
    # Transformers takes half a second to import, and each engine process imports this module.
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = _bytes_to_letters()
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, special=True) for text in ("<|end|>", "<|im_start|>", "<|im_end|>")])
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    hf.chat_template = CHATML
    hf.save_pretrained(directory)
    return directory


def make_config(tokenizer: Path | None, *, policy: str = "fcfs", **model) -> EngineConfig:
    """The toy's config."""
    fields = {"name": "toy", "path": "toy", "architecture": "Toy", "hf_config": {}, "dtype": "float32",
              "max_model_len": 64, "is_max_model_len_fixed": True, "vocab_size": VOCAB_SIZE, "eos_token_ids": (EOS,)}
    return EngineConfig(
        model=ModelConfig(**(fields | model)), tokenizer=TokenizerConfig(path=tokenizer and str(tokenizer)),
        cache=CacheConfig(dtype="float32"),
        scheduler=SchedulerConfig(max_num_seqs=8, max_num_batched_tokens=512, policy=policy),
        load=LoadConfig(), num_threads=1, served_model_names=("toy",))


def _bytes_to_letters() -> list[str]:
    """The letter that byte-level tokenizers write for each byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
