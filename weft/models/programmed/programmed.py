"""`Programmed`: a torch module with vLLM's model interface, as the engine drives it.

The constructor runs on the real device under the model's dtype; only weft's own layers hold no memory until the plan is
made. Then the engine binds these layers: to kernels, to a cache, and to the `StepRef` through which they see the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from weft.architectures.model_words import LayerWords, ModelWords
from weft.architectures.words import layer_words
from weft.checkpoint.dummy import fill_dummy
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.config.engine_config import EngineConfig
from weft.errors import CheckpointError, ConfigError, NotBuiltError, WeftError
from weft.layers.context import LayerContext
from weft.layers.layer import Layer, StepLimits, allocate
from weft.layers.public.attention import share_caches
from weft.layers.public.embedding import tie_shared_tables
from weft.layers.public.layer import PublicLayer, StepRef
from weft.layers.public.linear import PublicLinear
from weft.layers.public.rope import RotaryEmbedding
from weft.models.encoder_len import max_encoder_len
from weft.models.engine_model import EncoderInput, ModelPooler
from weft.models.interfaces_base import has_encoder
from weft.models.media_bytes import with_media
from weft.models.programmed.code_bytes import bytes_saved_by_codes, coded_names
from weft.models.programmed.filled import check_filled, check_used
from weft.models.programmed.hf_names import under_hf_names
from weft.models.programmed.media import ProgrammedMedia, media_of
from weft.models.programmed.quantized import check_quantized
from weft.models.programmed.reading import Headers, Reading, drop_memory, needs_numbers
from weft.models.programmed.recorded import record_marked
from weft.models.sizes import cache_bytes_per_token, layers_of, num_parameters, step_bytes
from weft.models.vllm.forward_context import running_step
from weft.models.vllm.helpers import set_default_torch_dtype
from weft.models.vllm.vllm_config import VllmConfig, set_current_vllm_config, vllm_config
from weft.ops.kernel import Choice
from weft.ops.step import Step
from weft.parallel import current_ranks, running_on

logger = logging.getLogger("weft")

_BUFFERS = 6        # rows of hidden states and of the widest product that a block is taken to hold at one time


class ModelMethods(Protocol):
    """What a programmed model has besides `forward`, as vLLM's models do."""

    def embed_input_ids(self, input_ids: Tensor) -> Tensor: ...

    def compute_logits(self, hidden_states: Tensor) -> Tensor: ...

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str] | None: ...


class Programmed:
    """As EngineModel. ConfigError when the class cannot be made, or has no attention layer of weft."""

    tasks = frozenset({"generate"})
    reader = None
    media: ProgrammedMedia | None = None
    prompt_embeds_size: int | None = None                     # known after the first step
    num_positions: int | None = None
    num_token_types = 0
    shares_prefixes = True
    pooler: ModelPooler | None = None

    def __init__(self, cls: type[nn.Module], config: EngineConfig, checkpoint: Checkpoint | None,
                 context: LayerContext) -> None:
        self._checkpoint = None if checkpoint is None else under_hf_names(checkpoint, config.model, context.dtype)
        self._context, self._vocab_size = context, config.model.vocab_size
        self._hf_config, self._ranks = config.model.hf_config, current_ranks()
        self.name, self._step = cls.__qualname__, StepRef()
        self._vllm_config = self._view(config)
        self.module = self._made(cls, config)
        self.encoder = self._encoder_input()
        self._step.has_encoder = self.encoder is not None
        self._methods = cast("ModelMethods", self.module)      # `find_class` has seen that it has them
        self.media = media_of(self.module, self._vllm_config, self._ranks)
        tie_shared_tables(self.module)
        for module in self.module.modules():
            if isinstance(module, PublicLayer):
                module.bind(context, self._step)
        if context.quantization is not None:
            check_quantized(self.name, self.module, config.load.quantization)
        self.caches = share_caches(self.module)
        if not self.caches:
            raise ConfigError("model_class", self.name, expected="a model with weft.layers.public.Attention layers",
                              hint="It has none, so it would see the tokens of one step only; a cache of its own "
                              "cannot follow the engine's batches, chunks and preemptions.")
        self.recorded = record_marked(self.module, self._step, context, self._vllm_config)

    def _view(self, config: EngineConfig) -> VllmConfig:
        """The configuration as the class sees it."""
        return vllm_config(config, self._ranks)

    def _made(self, cls: type[nn.Module], config: EngineConfig) -> nn.Module:
        seen = self._vllm_config
        with set_default_torch_dtype(self._context.dtype), set_current_vllm_config(seen), torch.no_grad():
            try:
                return cls(vllm_config=seen, prefix="").eval()
            except WeftError:
                raise
            except (Exception, SystemExit) as error:
                raise ConfigError("model_class", self.name, expected="a class that can be made from this config",
                                  source=config.model.config_source, hint=f"{type(error).__name__}: {error}") from error

    def _encoder_input(self) -> EncoderInput | None:
        if not has_encoder(self.module):
            return None
        config = self._vllm_config.model_config.hf_config
        return EncoderInput(vocab_size=getattr(config, "src_vocab_size", None) or config.vocab_size,
                            max_len=max_encoder_len(config))

    def words(self) -> ModelWords:
        """As EngineModel: one entry for all attention layers of one kind."""
        kinds: dict[tuple[int, int, int, int | None], list[int]] = {}
        for number, layer in enumerate(self.caches):
            kind = (layer.num_heads, layer.num_kv_heads, layer.head_dim, layer.window)
            kinds.setdefault(kind, []).append(number)
        each = num_parameters(self.module) // len(self.caches)
        rows = tuple(LayerWords(
            layers=layer_words(numbers), numbers=tuple(numbers),
            positions="programmed", ffn="programmed", norms="programmed",
            attention=f"{heads} heads, {kv_heads} kv heads of {size}" + (f", window {window}" if window else ""),
            parameters=each, cache_bytes_per_token=cache_bytes_per_token(self.caches[numbers[0]]), state_bytes=0)
            for (heads, kv_heads, size, window), numbers in kinds.items())
        return ModelWords(f"{self.name}, {len(self.caches)} attention layers", "as its code says", rows)

    def weight_bytes(self) -> int:
        """As EngineModel: weft's layers by what their kernels hold, other modules by what they have allocated."""
        foreign = {id(tensor): tensor.numel() * tensor.element_size() for module in self.module.modules()
                   if not isinstance(module, Layer)
                   for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))}
        held = sum(foreign.values()) + sum(layer.held_bytes({}) for layer in layers_of(self.module))
        checkpoint = self._checkpoint
        return held if checkpoint is None else held - bytes_saved_by_codes(checkpoint, self.module, self._context)

    def step_bytes(self, limits: StepLimits) -> int:
        """As EngineModel; what lies between foreign operators is an estimate by the widest product."""
        if self.encoder is not None:                          # inputs of the encoders that start in a step, together
            longest = max(limits.num_tokens, self.encoder.max_len or limits.max_model_len)
            limits = replace(limits, num_tokens=limits.num_tokens + longest)
        linears = [module for module in self.module.modules() if isinstance(module, PublicLinear)]
        widest = max((max(layer.input_size, layer.output_size) for layer in linears), default=0)
        token_bytes = _BUFFERS * widest * max(self._context.dtype.itemsize, 4)
        text = step_bytes(self.module, token_bytes, self._vocab_size, limits, native=self._context.is_native)
        config = self._vllm_config.model_config
        return with_media(text, self.media, config.hf_config, num_rows=limits.num_tokens,
                          row_bytes=config.get_hidden_size() * self._context.dtype.itemsize)

    def bytes_per_cached_token(self) -> float:
        """As EngineModel."""
        return max(layer.bytes_per_cached_token() for layer in self.caches)

    def check_weights(self) -> str:
        """As EngineModel: `load_weights` runs over tensors without numbers, into parameters without memory."""
        if self._checkpoint is None or self._checkpoint.is_dummy:
            return ""
        drop_memory(self.module)
        try:
            self._load_weights(Headers(self._checkpoint))
        except CheckpointError as error:
            if not needs_numbers(error.__cause__):
                raise
            return f"{error} Headers alone do not tell whether the weights fit."
        return ""

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel, by the model's own `load_weights`. A parameter that nothing filled is an error."""
        checkpoint, start = self._checkpoint, perf_counter()
        assert checkpoint is not None, "a model that is only looked at has no weights"
        allocate(self.module, self._context.device)
        public = [module for module in self.module.modules() if isinstance(module, PublicLayer)]
        unfinished = dict.fromkeys(public)
        if checkpoint.is_dummy:
            fill_dummy({name: parameter.data for name, parameter in self.module.named_parameters()})
        else:
            self._finish_early(unfinished)
            reading = Reading(checkpoint)
            self._load_weights(reading)
            if cost := checkpoint.cost(reading.as_codes):
                logger.warning("%s", cost)
        for layer in unfinished:
            layer.finish_loading()
            if isinstance(layer, RotaryEmbedding):
                layer.prepare(max_model_len=max_model_len)
        tensors = {} if checkpoint.is_dummy else checkpoint.tensors
        return LoadReport(num_tensors=len(tensors), num_bytes=sum(info.num_bytes for info in tensors.values()),
                          seconds=perf_counter() - start, files=() if checkpoint.is_dummy else checkpoint.files,
                          is_head_tied=False)

    def _finish_early(self, unfinished: dict[PublicLayer, None]) -> None:
        """Quantize or pack a product as soon as its weight is whole, so that no more than a layer is held twice."""
        if self._context.quantization is None and (self._checkpoint is None or not coded_names(self._checkpoint)):
            return

        def finish(layer: PublicLayer) -> None:
            layer.on_full = None
            del unfinished[layer]
            layer.finish_loading()

        for layer in unfinished:
            if layer.may_finish_early:
                layer.on_full = finish

    def _load_weights(self, reading: Reading) -> None:
        try:
            with running_on(self._ranks):
                loaded = self._methods.load_weights(reading)
        except WeftError as error:
            raise CheckpointError(f"{self.name}.load_weights at tensor {reading.last}: {error}") from error
        except (Exception, SystemExit) as error:
            raise CheckpointError(f"{self.name}.load_weights at tensor {reading.last}: {type(error).__name__}: "
                                  f"{error}. Does the model have a parameter for this tensor?") from error
        check_filled(self.name, self.module, loaded)
        check_used(self.name, reading, self._hf_config)

    def try_step(self, step: Step) -> None:
        """As EngineModel: a first forward pass. ConfigError for a wrong shape, NaN, infinity or any exception."""
        looked_up = self._tried("embed_input_ids", lambda: self._embeds(step.input_ids))
        self.prompt_embeds_size = looked_up.shape[1]
        hidden = self._tried("forward", lambda: self.forward(step))
        self._tried("compute_logits", lambda: self.compute_logits(hidden))

    def _tried(self, method: str, call: Callable[[], Tensor]) -> Tensor:
        try:
            x = call()
        except WeftError:
            raise
        except (Exception, SystemExit) as error:
            raise ConfigError(f"model_class.{method}", self.name, expected="a method that runs on a first step",
                              hint=f"{type(error).__name__}: {error}") from error
        if not x.isfinite().all():
            raise ConfigError(f"model_class.{method}", f"{self.name} returned NaN or infinite numbers",
                              expected="finite numbers", hint="Are all weights loaded, and the dtype wide "
                              "enough? Try dtype=\"float32\".")
        return x

    def _checked(self, method: str, x: Any, rows: int, columns: int | None) -> Tensor:
        """x, what a method of the class returned in a step; ConfigError unless it is floats [rows, columns]."""
        if not isinstance(x, Tensor) or x.dim() != 2 or x.shape[0] != rows or columns not in (None, x.shape[1]):
            found = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(f"model_class.{method}", f"{self.name} returned {found}",
                              expected=f"a tensor [{rows}, {'E' if columns is None else columns}]")
        if not x.is_floating_point() or x.device.type != self._context.device:
            raise ConfigError(f"model_class.{method}", f"{self.name} returned {x.dtype} on {x.device}",
                              expected=f"floats on {self._context.device}")
        return x

    def _embeds(self, input_ids: Tensor) -> Tensor:
        with running_on(self._ranks):
            rows = self._methods.embed_input_ids(input_ids)
        return self._checked("embed_input_ids", rows, len(input_ids), self.prompt_embeds_size)

    def forward(self, step: Step) -> Tensor:
        """As EngineModel. ConfigError for a result that has not one row for each token.

        NotBuiltError for a step with taps: what a block is, only the model's code knows.
        """
        if step.taps:
            raise NotBuiltError("step.taps", sorted(step.taps), expected="none for a programmed model")
        self._step.begin(step)
        try:
            with running_step(step, self._vllm_config), running_on(self._ranks):
                input_ids, embeds = self._inputs(step)
                positions = step.positions if self.media is None else self.media.step_positions(step)
                hidden = self.module(input_ids, positions, intermediate_tensors=None, inputs_embeds=embeds,
                                     **self._of_step(step))
            return self._checked("forward", hidden, len(step.input_ids), None)
        finally:
            self._step.begin(None)

    def _inputs(self, step: Step) -> tuple[Tensor | None, Tensor | None]:
        """(input_ids, inputs_embeds) of `forward`."""
        if self.media is not None:
            return self.media.inputs(step)
        if step.embeds is None:
            return step.input_ids, None
        looked_up = self._embeds(step.input_ids)
        return step.input_ids, looked_up.index_copy(0, step.embeds.rows, step.embeds.values.to(looked_up.dtype))

    def _of_step(self, step: Step) -> dict[str, Tensor]:
        """Further arguments of `forward`: the encoder's tokens, packed in the order of their sequences."""
        if self.encoder is None:
            return {}
        given = list(step.encoder_ids.values())
        none = [torch.empty(0, dtype=torch.int64)]
        return {"encoder_input_ids": torch.cat(given or none),
                "encoder_positions": torch.cat([torch.arange(len(ids)) for ids in given] or none)}

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """As EngineModel. ConfigError for logits of another shape."""
        with running_on(self._ranks):
            logits = self._methods.compute_logits(hidden_states)
        return self._checked("compute_logits", logits, len(hidden_states), self._vocab_size).float().contiguous()

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """Nothing: the cache is the engine's."""

    def choices(self) -> Iterator[Choice]:
        """As EngineModel."""
        for layer in layers_of(self.module):
            yield from (value for value in vars(layer).values() if isinstance(value, Choice))

    def forget_recordings(self) -> None:
        """As EngineModel."""
        for module in self.recorded:
            module.forget()

    def refuse_recordings(self, reason: str) -> None:
        """As EngineModel."""
        for module in self.recorded:
            module.steps.refuse(reason)
