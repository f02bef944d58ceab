"""`verify_model` compares a model of weft with Transformers; `check_model` is the same for an author's pytest.

The model runs in float32 in five ways: all tokens in one step (against Transformers), in chunks, beside other requests,
token by token from the paged cache, and again from the prefix cache (each against the one step).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from weft.config.engine_args import EngineArgs
from weft.config.engine_config import EngineConfig
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.errors import ConfigError, MemoryPlanError, NotBuiltError
from weft.models.decoder import Stack
from weft.resolve.engine_config import resolve_engine_config
from weft.testing.diagnosis import difference, first_position
from weft.testing.modules import fault_by_names
from weft.testing.parts import PartSearch
from weft.testing.reference import Trace, load_reference, run_reference
from weft.testing.report import DIFFERS, EQUAL, SKIPPED, Check, Fault, Report
from weft.testing.runs import LOGITS, Rows, Runs
from weft.testing.sources import Sources
from weft.text.tokenizer import load_tokenizer

_CHUNK = 7                 # tokens of a chunk; odd, so that chunks end inside blocks of the cache
_OTHERS = (5, 23, 17)      # tokens of the prompts that share the batch
_ONE_STEP = "one step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a model is compared.

    prompt: text or token ids; None: `num_tokens` random ids, drawn with `seed`. num_new: tokens that are decoded after
    the prompt. tolerance, total_tolerance: see Report. attention: Transformers' implementation of it, "eager" or
    "sdpa"; eager is the one whose queries, keys and values can be seen.
    """

    prompt: str | Sequence[int] | None = None
    num_tokens: int = 40
    num_new: int = 8
    tolerance: float = 1e-4
    total_tolerance: float = 1e-3
    seed: int = 0
    attention: str = "eager"

    def __post_init__(self) -> None:
        for name, least in (("num_tokens", 2), ("num_new", 0)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), expected=f"at least {least}")
        for name in ("tolerance", "total_tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), expected="a number between 0 and 1")
        if self.attention not in ("eager", "sdpa"):
            raise ConfigError("attention", self.attention, expected="eager or sdpa")

    @property
    def num_positions(self) -> int:
        """The longest sequence that is computed, as far as is known before tokenizing."""
        return max(self.num_tokens if self.prompt is None else len(self.prompt) + 2, *_OTHERS) + self.num_new


def check_model(model: str | Any, **arguments: Any) -> Report:
    """As `verify_model`, with its arguments; AssertionError with the report's text when anything differs.

    For an author's pytest: `check_model("path/to/checkpoint", model_file="my_model.py")`. Returns the report.
    """
    report = verify_model(model, **arguments)
    if not report.is_equal:
        raise AssertionError(report.text())
    return report


def verify_model(model: str | Any, *, reference: nn.Module | None = None, **arguments: Any) -> Report:
    """Compare a model with its class in Transformers, in float32. Both are in memory at the same time.

    model: a directory, a GGUF file or a hub name. reference: a torch module to compare with instead, which takes token
    ids [1, T] and returns logits [1, T, V].
    arguments: fields of Settings, and options of the engine: `model_file`, `model_class`, `trust_remote_code`,
    `hf_overrides` (for both sides) and so on.
    ConfigError, CheckpointError or MemoryPlanError when either side cannot be made.
    """
    names = {field.name for field in fields(Settings)} - {"seed"}
    settings = {name: value for name, value in arguments.items() if name in names}
    args = EngineArgs(model=str(model), **{k: v for k, v in arguments.items() if k not in names})
    return compare(args, Settings(**settings, seed=args.seed), reference)


def compare(args: EngineArgs, settings: Settings, reference: nn.Module | None = None) -> Report:
    """As `verify_model`, for checked options of the engine."""
    config = resolve_engine_config(_with_room(args, settings), Machine.detect())
    token_ids = _prompt(config, settings)
    runs = Runs(config)
    if runs.model.encoder is not None:
        raise NotBuiltError("architectures", [config.model.architecture], expected="a model without an encoder",
                            source=config.model.config_source, hint="weft verify gives a model one prompt only.")
    weights, free = runs.memory.weight_bytes, Machine.detect().available_bytes.value
    if reference is None and weights > free:
        raise MemoryPlanError(f"{config.model.name}: Transformers' copy of the weights needs {human_bytes(weights)} in "
                              f"float32 beside weft's; {human_bytes(free)} are free. Verify a smaller model of the "
                              "same architecture, for example with fewer layers (hf_overrides).")
    other = load_reference(config, has_head=runs.has_head, is_trusted=args.trust_remote_code,
                           has_overrides=bool(args.hf_overrides),
                           attention=settings.attention) if reference is None else reference
    return _Comparison(runs, other.eval(), token_ids, settings).report()


def _with_room(args: EngineArgs, settings: Settings) -> EngineArgs:
    """The engine's options: the user's in float32, with room for all tokens in one step."""
    for name, others in (("dtype", ("auto", "float32")), ("quantization", (None,))):
        if getattr(args, name) not in others:
            raise ConfigError(name, getattr(args, name), expected=f"{others[-1]}: the comparison is in float32",
                              hint="A checkpoint's own quantized weights are computed as the floats they stand for.")
    length = settings.num_positions
    return replace(args, dtype="float32", max_num_batched_tokens=length + sum(_OTHERS), max_num_seqs=8,
                   max_model_len=args.max_model_len or length, use_tqdm_on_load=False, enable_prefix_caching=True,
                   skip_tokenizer_init=not isinstance(settings.prompt, str))


def _prompt(config: EngineConfig, settings: Settings) -> list[int]:
    """Token ids. ConfigError for ids outside the vocabulary, and for fewer than two."""
    size, prompt = config.model.vocab_size, settings.prompt
    if isinstance(prompt, str):
        token_ids = load_tokenizer(config.tokenizer).encode(prompt, add_special_tokens=True)
    elif prompt is not None:
        token_ids = [int(token) for token in prompt]
    else:
        token_ids = _random_ids(config, settings.num_tokens, random.Random(settings.seed))
    if len(token_ids) < 2 or not all(0 <= token < size for token in token_ids):
        raise ConfigError("prompt", token_ids, expected=f"at least two token ids from 0 to {size - 1}")
    return token_ids


def _random_ids(config: EngineConfig, count: int, draw: random.Random) -> list[int]:
    """Ids that mean no padding, media or end in this model's config."""
    special = {value for key, value in config.model.hf_config.items()
               if key.endswith(("token_id", "token_index")) and isinstance(value, int)}
    return [token for token in (draw.randrange(config.model.vocab_size) for _ in range(20 * count))
            if token not in special][:count]


class _Comparison:
    """One comparison. token_ids: the prompt."""

    def __init__(self, runs: Runs, reference: nn.Module, token_ids: list[int], settings: Settings) -> None:
        self._runs, self._reference, self._prompt, self._num_new = runs, reference, token_ids, settings.num_new
        self._tolerance, self._total = settings.tolerance, settings.total_tolerance
        self._draw = random.Random(settings.seed + 1)
        self._parts: dict[str, float] = {}

    def report(self) -> Report:
        """Run everything."""
        runs, config = self._runs, self._runs.config.model
        decoded = self._decoded()
        whole = self._prompt if decoded is None else decoded.token_ids[:-1]
        trace = run_reference(self._reference, whole)
        rows = runs.compute([runs.request("whole", whole)], budget=len(whole))["whole"]
        forward = self._forward(rows, trace)
        fault = self._fault(whole, trace, forward)
        if fault is not None and forward.verdict == EQUAL:
            forward = Check(name=forward.name, against=forward.against, verdict=DIFFERS, error=forward.error,
                            first=fault.part, position=fault.position)
        checks = (forward, self._chunked(whole, rows), self._batched(whole, rows), self._cached(decoded, rows),
                  self._prefix(whole, rows))
        return Report(model=config.name, architecture=config.architecture, reference=type(self._reference).__name__,
                      num_tokens=len(whole), tolerance=self._tolerance, total_tolerance=self._total, checks=checks,
                      fault=fault, parts=self._parts)

    def _decoded(self) -> Rows | None:
        """The prompt and the tokens after it, each computed by a step of its own; None for a model without a head."""
        runs = self._runs
        if not runs.has_head or self._num_new < 2:
            return None
        request = runs.request("decode", self._prompt, self._num_new)
        return runs.compute([request], budget=len(self._prompt), is_hooked=False)["decode"]

    def _forward(self, rows: Rows, trace: Trace) -> Check:
        _, ours = rows.at(LOGITS)
        name = type(self._reference).__name__
        if ours.shape != trace.logits.shape:
            raise ConfigError("reference", list(trace.logits.shape), expected=f"results of shape {list(ours.shape)}")
        error = difference(ours, trace.logits)
        if error <= self._total:
            return Check(name="forward pass", against=name, verdict=EQUAL, error=error)
        return Check(name="forward pass", against=name, verdict=DIFFERS, error=error, first=LOGITS,
                     position=first_position(ours, trace.logits, self._total))

    def _fault(self, token_ids: list[int], trace: Trace, forward: Check) -> Fault | None:
        """The first part that differs. A described model's parts are compared even where the logits agree."""
        runs, step = self._runs, self._runs.single_step(token_ids)
        stack = runs.model.module
        if isinstance(stack, Stack):
            sources = Sources(stack.homes(), stack.spec.names, self._reference)
            search = PartSearch(stack, sources, self._reference, trace, step, self._tolerance)
            fault, self._parts = search.first_fault(), search.errors
            return fault
        return None if forward.verdict == EQUAL else fault_by_names(runs, step, trace, self._total, self._parts)

    def _chunked(self, token_ids: list[int], rows: Rows) -> Check:
        runs = self._runs
        if not runs.has_head:
            return _skipped("chunked prefill", "each token sees the whole prompt, which is computed in one step")
        found = runs.compute([runs.request("chunks", token_ids)], budget=_CHUNK)["chunks"]
        return self._same("chunked prefill", found, rows)

    def _batched(self, token_ids: list[int], rows: Rows) -> Check:
        runs = self._runs
        others = [runs.request(f"other {i}", _random_ids(runs.config, count, self._draw), 4)
                  for i, count in enumerate(_OTHERS)]
        found = runs.compute(others, [runs.request("beside", token_ids)],
                             budget=len(token_ids) + sum(_OTHERS))["beside"]
        return self._same("batching", found, rows)

    def _cached(self, decoded: Rows | None, rows: Rows) -> Check:
        if decoded is None:
            return _skipped("decode", "no tokens are generated")
        return self._same("decode", decoded, rows)

    def _prefix(self, token_ids: list[int], rows: Rows) -> Check:
        runs = self._runs
        if not runs.has_head:
            return _skipped("prefix cache", "it is not used where each token sees the whole prompt")
        found = runs.compute([runs.request("first", token_ids)], [runs.request("again", token_ids)],
                             budget=len(token_ids), waits=True, caches_prefixes=True)["again"]
        if runs.num_computed_from_cache == 0:
            return _skipped("prefix cache", f"{len(token_ids)} tokens fill no block that can be found again")
        return self._same("prefix cache", found, rows)

    def _same(self, name: str, found: Rows, rows: Rows) -> Check:
        """Compare two ways of running, at each border between blocks and at the logits, where both have rows."""
        largest = 0.0
        for place in found.places:
            positions, ours = found.at(place)
            _, theirs = rows.at(place)
            positions = positions[positions < len(theirs)]
            ours, theirs = ours[: len(positions)], theirs[positions]
            error = difference(ours, theirs)
            if error > self._total:
                row = first_position(ours, theirs, self._total)
                return Check(name=name, against=_ONE_STEP, verdict=DIFFERS, error=error, first=place,
                             position=None if row is None else int(positions[row]))
            largest = max(largest, error)
        return Check(name=name, against=_ONE_STEP, verdict=EQUAL, error=largest)


def _skipped(name: str, note: str) -> Check:
    return Check(name=name, against=_ONE_STEP, verdict=SKIPPED, note=note)
