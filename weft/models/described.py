"""`Described`: a model that a `DecoderSpec` describes, as the engine drives it; `DescribedStack`: any spec's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from weft.architectures import words
from weft.architectures.model_words import LayerWords, ModelWords
from weft.architectures.names import NameMap
from weft.architectures.reader import ConfigReader
from weft.architectures.spec import DecoderSpec, ModelSpec
from weft.checkpoint.loader import check_weights, has_own_head, load_weights
from weft.checkpoint.reader import Checkpoint
from weft.checkpoint.report import LoadReport
from weft.checkpoint.stored_codes import stored_codes
from weft.errors import NotBuiltError
from weft.layers.context import LayerContext
from weft.layers.finishing import LayerFinisher
from weft.layers.layer import Home, StepLimits, allocate
from weft.layers.paged_attention import PagedAttention
from weft.models.decoder import Decoder, Stack
from weft.models.engine_model import EncoderInput, MediaEncoder, ModelPooler
from weft.models.sizes import cache_bytes_per_token, held_bytes, num_parameters, state_bytes, step_bytes
from weft.ops.kernel import Choice
from weft.ops.step import Step


class DescribedStack:
    """What all described models share of EngineModel.

    checkpoint: None for a model that is only looked at. num_outputs: float32 numbers that leave the model for one
    wanted row. head: where the head's matrix comes from, in words.
    """

    shares_prefixes = True
    media: MediaEncoder | None = None
    encoder: EncoderInput | None = None

    def __init__(self, spec: ModelSpec, module: Stack, reader: ConfigReader, checkpoint: Checkpoint | None,
                 context: LayerContext, *, num_outputs: int, head: str) -> None:
        self.spec, self.module, self.reader = spec, module, reader
        self._checkpoint, self._context = checkpoint, context
        self._num_outputs, self._head = num_outputs, head
        module.refuse_homeless()
        self.caches = module.caches()
        self.num_token_types = spec.embedding.token_types
        self.num_positions = getattr(spec.embedding.positions, "num_positions", None)

    def names(self) -> NameMap:
        """From the checkpoint's names to homes."""
        assert self._checkpoint is not None, "a model that is only looked at reads no tensors"
        return names_in(self._checkpoint, self.spec)

    def words(self) -> ModelWords:
        """As EngineModel: one entry for each kind of block."""
        spec = self.spec
        rows = []
        for layers, block in words.patterns(spec.blocks):
            built = self.module.blocks[spec.blocks.index(block)]
            attention = [part.describe() for part in (block.mixer, block.cross) if part is not None]
            rows.append(LayerWords(
                layers=layers, numbers=tuple(i for i, other in enumerate(spec.blocks) if other == block),
                attention="; ".join(attention) or "-", ffn=words.describe(block.ffn),
                positions=words.mixer_positions(block.mixer), norms=words.block_norms(block),
                parameters=num_parameters(built), cache_bytes_per_token=cache_bytes_per_token(built),
                state_bytes=state_bytes(built)))
        title = f"{len(spec.blocks)} layers of {spec.hidden_size}, vocabulary {spec.vocab_size}"
        beside = getattr(spec, "encoder", None)
        title += "" if beside is None else f", over an encoder of {len(beside.blocks)} layers of {beside.hidden_size}"
        return ModelWords(title, self._head, tuple(rows))

    def weight_bytes(self) -> int:
        """As EngineModel. Without a checkpoint all weights are floats."""
        if self._checkpoint is None:
            return held_bytes(self.module, {})
        return held_bytes(self.module, stored_codes(self._checkpoint, self.names()))

    def step_bytes(self, limits: StepLimits) -> int:
        """As EngineModel."""
        native = self._context.is_native
        blocks = [block.token_bytes(native) for block in self.module.each_block()]
        return step_bytes(self.module, max(blocks, default=0), self._num_outputs, limits, native=native)

    def bytes_per_cached_token(self) -> float:
        """As EngineModel."""
        return max((layer.bytes_per_cached_token() for layer in self.caches), default=0)

    def homes(self) -> dict[str, Home]:
        """What the checkpoint's tensors fill."""
        return self.module.homes()

    def check_weights(self) -> str:
        """As EngineModel: names, shapes and dtypes of all tensors."""
        if self._checkpoint is not None:
            check_weights(self.homes(), self._checkpoint, self.names())
        return ""

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """As EngineModel."""
        assert self._checkpoint is not None, "a model that is only looked at has no weights"
        allocate(self.module, self._context.device)
        finisher = LayerFinisher(self.module, self.homes())
        report = load_weights(self.homes(), self._checkpoint, self.names(), use_tqdm=use_tqdm,
                              sink=finisher)
        finisher.finish()
        self.module.prepare(max_model_len=max_model_len)
        return report

    def try_step(self, step: Step) -> None:
        """Nothing: parts are tested, and a description is checked when the model is built."""

    def forward(self, step: Step) -> Tensor:
        """As EngineModel."""
        return self.module(step)

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """Nothing: the cache is the engine's."""

    def choices(self) -> Iterator[Choice]:
        """As EngineModel."""
        return self.module.choices()

    def forget_recordings(self) -> None:
        """As EngineModel."""
        self.module.steps.forget()

    def refuse_recordings(self, reason: str) -> None:
        """As EngineModel."""
        self.module.steps.refusal = reason


class Described(DescribedStack):
    """As EngineModel. hf_config: says whether the head is tied."""

    tasks = frozenset({"generate"})
    pooler: ModelPooler | None = None
    module: Decoder

    def __init__(self, spec: DecoderSpec, reader: ConfigReader, checkpoint: Checkpoint | None,
                 hf_config: Mapping[str, Any], context: LayerContext) -> None:
        has_own = needs_own_head(checkpoint, spec, hf_config)
        super().__init__(spec, Decoder(spec, tied=not has_own, context=context), reader, checkpoint, context,
                         num_outputs=spec.vocab_size,
                         head="has a table of its own" if has_own else "shares the embedding's table")
        self.prompt_embeds_size = spec.embedding.embedding_dim or spec.hidden_size
        if spec.encoder is not None:
            positions = spec.encoder.embedding.positions
            self.encoder = EncoderInput(vocab_size=spec.encoder.vocab_size,
                                        max_len=None if positions is None else positions.num_positions,
                                        row_size=2 * spec.encoder.embedding.num_mel_bins or None)
            self.prompt_embeds_size = None

    def step_bytes(self, limits: StepLimits) -> int:
        """As EngineModel, with a run of the encoder over as many tokens as a step has, or over one longer input."""
        own, encoder = super().step_bytes(limits), self.module.encoder
        if encoder is None or self.encoder is None:
            return own
        rows = max(limits.num_tokens, self.encoder.max_len or limits.max_model_len)
        native, width = self._context.is_native, 2 * encoder.spec.hidden_size * encoder.dtype.itemsize
        cached = max(layer.need.bytes_per_token for layer in encoder.caches() if isinstance(layer, PagedAttention))
        parts = (encoder.embedding, *encoder.each_block())
        token_bytes = max(part.token_bytes(native) for part in parts) + width + cached
        alone = replace(limits, num_tokens=rows, num_wanted_rows=0, max_model_len=rows)
        return own + step_bytes(encoder, token_bytes, 0, alone, native=native)

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """As EngineModel."""
        return self.module.compute_logits(hidden_states)


def names_in(checkpoint: Checkpoint, spec: ModelSpec) -> NameMap:
    """The family's names in this kind of files. NotBuiltError when the family has no names for this kind."""
    if not checkpoint.is_gguf and not checkpoint.is_mistral:
        return spec.names
    kind, found = ("GGUF", spec.gguf_names) if checkpoint.is_gguf else ("consolidated", spec.mistral_names)
    if found is None:
        raise NotBuiltError("model", str(checkpoint.path), expected="safetensors or PyTorch files of this architecture",
                            hint=f"weft does not know how {kind} files name this family's tensors.")
    return found


def needs_own_head(checkpoint: Checkpoint | None, spec: DecoderSpec, hf_config: Mapping[str, Any]) -> bool:
    """Whether a model gets a table for its head besides the embedding's: as the checkpoint has it.

    Without weights (none, or load_format=dummy) as the spec says.
    """
    if checkpoint is None or checkpoint.is_dummy:
        return not spec.head.tied
    says_untied = hf_config.get("tie_word_embeddings") is False
    return has_own_head(checkpoint, names_in(checkpoint, spec), says_untied=says_untied)
