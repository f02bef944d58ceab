"""`EngineModel`: all that the engine asks of a model, however it came to be. `build.py` makes one.

The engine knows numbers, homes and forward passes; what a model is made of stays behind this protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from weft.architectures.model_words import ModelWords
from weft.architectures.pooling_spec import PoolerSpec
from weft.architectures.reader import ConfigReader
from weft.cache.need import CacheNeed
from weft.checkpoint.report import LoadReport
from weft.layers.layer import StepLimits
from weft.models.prompt_item import PromptItem
from weft.ops.kernel import Choice
from weft.ops.step import Step
from weft.pooling_params import PoolingParams


class CacheLayer(Protocol):
    """A layer that stores something from step to step.

    need: what it stores, for the memory plan. cache_dtypes: of its tensors.
    """

    @property
    def need(self) -> CacheNeed: ...

    @property
    def cache_dtypes(self) -> tuple[torch.dtype, ...]: ...

    def cache_shapes(self, num_blocks: int, /) -> tuple[tuple[int, ...], ...]:
        """Of its tensors, for blocks numbered 0 to num_blocks - 1."""
        ...

    def bind_cache(self, tensors: tuple[Tensor, ...], group: int) -> None:
        """Take the tensors, and the number of the layer's cache group: its plan is `step.caches[group]`."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """What the encoder of an encoder-decoder model takes. vocab_size: token ids below it; max_len: most tokens of an
    input, None: the model's config says nothing.

    row_size: numbers of a row, if the encoder hears: then an input is max_len rows of audio in the place of token ids.
    """

    vocab_size: int
    max_len: int | None
    row_size: int | None = None


class ModelPooler(Protocol):
    """What makes of a model's states what pooling requests ask for: `layers/pooler.py`, or a model's own.

    spec: what it does, as far as data say it. tasks: those of PoolingParams that it serves.
    embedding_size: numbers of a vector; 0: it gives none. num_labels: of a classifier; 0: it is none. num_columns:
    numbers in the row of one token.
    score_type: as `PoolingInfo.score_type`. needs_whole_prompt: one step must compute the whole prompt.
    """

    @property
    def spec(self) -> PoolerSpec: ...

    @property
    def tasks(self) -> frozenset[str]: ...

    @property
    def embedding_size(self) -> int: ...

    @property
    def num_labels(self) -> int: ...

    @property
    def num_columns(self) -> int: ...

    @property
    def score_type(self) -> str: ...

    @property
    def needs_whole_prompt(self) -> bool: ...

    def __call__(self, states: Tensor, params: PoolingParams, *, token_ids: Sequence[int],
                 is_last: bool) -> Tensor | None:
        """As `Pooler.forward`."""
        ...


class MediaEncoder(Protocol):
    """What makes of a media item the rows that take the places of its tokens.

    kinds: of items. token_ids: {kind: the token that stands for a row}, where Transformers' processor reads prompts; a
    kind that is not there is read by the model's own processor. unit: as `MediaChunks.unit` (engine/media_chunks.py).
    makes_rows: False: the model runs unmodified and is given the items' tensors with a sequence's first tokens
    (`Step.media`).
    """

    @property
    def kinds(self) -> Sequence[str]: ...

    @property
    def token_ids(self) -> Mapping[str, int]: ...

    @property
    def unit(self) -> str: ...

    @property
    def makes_rows(self) -> bool: ...

    def encode(self, kind: str, tensors: Mapping[str, Tensor], num_rows: int) -> tuple[Tensor, ...]:
        """([num_rows, E], then as `RowEmbeds.deeper`) of an item."""
        ...

    def positions(self, token_ids: Sequence[int], items: Sequence[PromptItem]) -> Tensor | None:
        """[C, n], what C channels of rotary positions turn by at the n tokens of a prompt with these items; None: by
        the tokens' places.
        """
        ...


class EngineModel(Protocol):
    """A model as the runner drives it: first without memory, to be asked for sizes; then loaded; then run.

    module: the torch module behind it, which hooks and `apply_model` reach. caches: its cache layers in order.
    tasks: what it is for: "generate", "embed" and so on.
    prompt_embeds_size: numbers in a row of embeddings that a prompt may bring instead of a token id; None: it may not.
    encoder: what its encoder takes (`Step.encoder_ids`); None: it has none beside a decoder.
    media: its encoder of images and other media; None: it takes text alone.
    num_token_types: rows of the table of token types (`Step.token_types`); 0: it has none.
    num_positions: tokens of the longest sequence that the model can compute; None: it has no such limit.
    shares_prefixes: whether the engine may keep blocks of the cache for other sequences that begin alike.
    pooler: for the tasks of PoolingParams; None: it is for none of them.
    reader: knows which keys of the config the model used; None:
    nobody does, because the model reads its config itself.
    """

    @property
    def module(self) -> nn.Module: ...

    @property
    def caches(self) -> tuple[CacheLayer, ...]: ...

    @property
    def tasks(self) -> frozenset[str]: ...

    @property
    def prompt_embeds_size(self) -> int | None: ...

    @property
    def encoder(self) -> EncoderInput | None: ...

    @property
    def media(self) -> MediaEncoder | None: ...

    @property
    def num_token_types(self) -> int: ...

    @property
    def num_positions(self) -> int | None: ...

    @property
    def shares_prefixes(self) -> bool: ...

    @property
    def pooler(self) -> ModelPooler | None: ...

    @property
    def reader(self) -> ConfigReader | None: ...

    def words(self) -> ModelWords:
        """The model in words."""
        ...

    def weight_bytes(self) -> int:
        """Bytes of all weights as their kernels hold them, by names and headers alone."""
        ...

    def step_bytes(self, limits: StepLimits) -> int:
        """Bytes of the largest step, besides weights and cache."""
        ...

    def bytes_per_cached_token(self) -> float:
        """Bytes that a step needs besides for each cached token that it reads."""
        ...

    def check_weights(self) -> str:
        """The CheckpointError that `load` would raise, as far as the headers of the files tell.

        Returns a sentence about what headers do not tell, or "". The model cannot be loaded afterwards.
        """
        ...

    def load(self, *, max_model_len: int, use_tqdm: bool) -> LoadReport:
        """Allocate and fill all weights. CheckpointError with every fault when the files do not fit the model.

        `caches` may be others afterwards, where only the loaded model shows what it needs.
        """
        ...

    def try_step(self, step: Step) -> None:
        """Run a first step where nothing else has shown that the model works. ConfigError when it does not."""
        ...

    def forward(self, step: Step) -> Tensor:
        """Hidden states [T, E] of a step's tokens."""
        ...

    def compute_logits(self, hidden_states: Tensor) -> Tensor:
        """[N, E] -> [N, V] float32."""
        ...

    def end_sequences(self, request_ids: Iterable[str]) -> None:
        """These sequences ended or were preempted: drop what the model itself keeps of them. Unknown ids are ignored.
        """
        ...

    def choices(self) -> Iterator[Choice]:
        """The kernels that its layers chose."""
        ...

    def forget_recordings(self) -> None:
        """The model was changed from outside: what was recorded of its steps no longer holds."""
        ...

    def refuse_recordings(self, reason: str) -> None:
        """Record no steps from now on."""
        ...
