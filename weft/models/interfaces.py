"""What a programmed model may have besides: one protocol for each ability, its flag, and the predicate about it.

Names and attributes are vLLM's. A predicate takes a class or an instance and reads the flag, so a model need not
inherit from the protocol. The engine uses few of these abilities yet; `interface_check.py` checks their members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from weft.models.interfaces_base import get_score_type, has_member, is_pooling_model

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class SupportsLoRA(Protocol):
    """Adapters may be put on the model's matrices."""

    supports_lora: ClassVar[Literal[True]] = True
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {}      # fused module -> the checkpoint's modules
    embedding_modules: ClassVar[dict[str, str]] = {}
    lora_skip_prefixes: ClassVar[list[str]] = []
    is_3d_moe_weight: ClassVar[bool] = False


@runtime_checkable
class SupportsPP(Protocol):
    """The model's blocks may be divided among processes, each of which has some of them."""

    supports_pp: ClassVar[Literal[True]] = True

    def make_empty_intermediate_tensors(self, batch_size: int, dtype: torch.dtype, device: torch.device) -> Any:
        """The IntermediateTensors that a process hands to the next one, for so many tokens."""
        ...

    def forward(self, input_ids: Tensor, positions: Tensor, intermediate_tensors: Any = None,
                inputs_embeds: Tensor | None = None) -> Any:
        """As `Model`; intermediate_tensors: what the process before handed on."""
        ...


@runtime_checkable
class SupportsMultiModal(Protocol):
    """The model takes images, audio or video."""

    supports_multimodal: ClassVar[Literal[True]] = True
    supports_multimodal_raw_input_only: ClassVar[bool] = False
    requires_raw_input_tokens: ClassVar[bool] = False                # `forward` is given ids and rows
    supports_encoder_tp_data: ClassVar[bool] = False
    merge_by_field_config: ClassVar[bool] = True                     # read by files for older versions of vLLM
    multimodal_cpu_fields: ClassVar[frozenset[str]] = frozenset()    # the same
    _processor_factory: ClassVar[Any]

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """The text that stands for the i-th item of a modality in a prompt."""
        ...

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The embedding rows of each item."""
        ...

    def get_language_model(self) -> Any:
        """The part that generates text: what `_mark_language_model` marked, else the first that embeds token ids."""
        names = vars(self).get("_language_model_names", [])
        if names:
            paths = [name.split(".") for name in names]
            shared = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
            return reduce(getattr, shared, self)
        return next(child for child in vars(self)["_modules"].values() if hasattr(child, "embed_input_ids"))

    def configure_mm_token_handling(self, vocab_size: int, mm_token_ids: Sequence[int]) -> None:
        """Nothing: the ids in the places of rows are never looked up."""

    def embed_input_ids(self, input_ids: Tensor, multimodal_embeddings: Any = None, *,
                        is_multimodal: Tensor | None = None) -> Tensor:
        """As `Model`, with the items' rows where `is_multimodal`."""
        from weft.models.vllm.multimodal.merging import merged_embeddings  # here, because it imports torch

        look_up = self.get_language_model().embed_input_ids
        return merged_embeddings(look_up, input_ids, multimodal_embeddings, is_multimodal)

    def _embed_text_input_ids(self, input_ids: Tensor, embed_input_ids: Callable[[Tensor], Tensor], *,
                              is_multimodal: Tensor | None, handle_oov_mm_token: bool = False) -> Tensor:
        """The rows of the text; those where `is_multimodal` will be replaced."""
        return embed_input_ids(input_ids if is_multimodal is None else input_ids.masked_fill(is_multimodal, 0))

    @contextmanager
    def _mark_language_model(self, vllm_config: Any, *, targets: Any = None) -> Iterator[None]:
        """The modules that are assigned meanwhile (within them those of the classes `targets`) generate text."""
        model: Any = self
        before = {name for name, _ in model.named_children()}
        yield
        found = model.named_children() if targets is None else model.named_modules()
        vars(self)["_language_model_names"] = [
            name for name, module in found
            if name.split(".")[0] not in before and (targets is None or isinstance(module, targets))]

    @contextmanager
    def _mark_tower_model(self, vllm_config: Any, modalities: Any, *, targets: Any = None) -> Iterator[None]:
        """The modules that are assigned meanwhile encode media."""
        yield

    @contextmanager
    def _mark_composite_model(self, vllm_config: Any, *, language_targets: Any, tower_targets: Any) -> Iterator[None]:
        """The modules that are assigned meanwhile do either."""
        with self._mark_language_model(vllm_config, targets=language_targets):
            yield


@runtime_checkable
class HasInnerState(Protocol):
    """The model has a state for each sequence besides keys and values."""

    has_inner_state: ClassVar[Literal[True]] = True


@runtime_checkable
class IsAttentionFree(Protocol):
    """No block of the model has attention."""

    is_attention_free: ClassVar[Literal[True]] = True


@runtime_checkable
class IsHybrid(Protocol):
    """Some blocks have attention, others a state."""

    is_hybrid: ClassVar[Literal[True]] = True

    @classmethod
    def get_mamba_state_shape_from_config(cls, vllm_config: Any) -> Any:
        """The shapes of a sequence's state in one block."""
        ...


@runtime_checkable
class HasNoOps(Protocol):
    """Some blocks do nothing."""

    has_noops: ClassVar[Literal[True]] = True


@runtime_checkable
class MixtureOfExperts(Protocol):
    """Experts that may lie on several devices, some of them several times."""

    expert_weights: MutableSequence[Sequence[Any]]
    num_moe_layers: int
    num_expert_groups: int
    num_logical_experts: int
    num_physical_experts: int
    num_local_physical_experts: int
    num_routed_experts: int
    num_shared_experts: int
    num_redundant_experts: int

    def set_eplb_state(self, expert_load_view: Tensor, logical_to_physical_map: Tensor,
                       logical_replica_count: Tensor) -> None:
        """Tell the layers where each expert lies."""
        ...


@runtime_checkable
class SupportsMambaPrefixCaching(Protocol):
    """States at borders of blocks may be used again."""

    supports_mamba_prefix_caching: ClassVar[Literal[True]] = True


@runtime_checkable
class SupportsCrossEncoding(Protocol):
    """Two texts in one prompt give one score."""

    score_type: ClassVar[str] = "cross-encoder"


@runtime_checkable
class SupportsLateInteraction(Protocol):
    """Two texts are compared token by token."""

    score_type: ClassVar[str] = "late-interaction"


class SupportsQuant:
    """Names of quantized checkpoints are mapped as those of others."""

    hf_to_vllm_mapper: ClassVar[Any] = None
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {}


@runtime_checkable
class SupportsTranscription(Protocol):
    """Speech to text."""

    supports_transcription: ClassVar[Literal[True]] = True
    supports_transcription_only: ClassVar[bool] = False
    supported_languages: ClassVar[Mapping[str, str]]          # code -> name

    @classmethod
    def get_generation_prompt(cls, *args: Any, **kwargs: Any) -> Any:
        """The prompt of a piece of audio."""
        ...

    @classmethod
    def get_speech_to_text_config(cls, model_config: Any, task_type: str) -> Any:
        """How audio is cut and sampled."""
        ...


@runtime_checkable
class SupportsRealtime(Protocol):
    """Audio may arrive while the model answers."""

    supports_realtime: ClassVar[Literal[True]] = True

    @classmethod
    def buffer_realtime_audio(cls, *args: Any, **kwargs: Any) -> Any:
        """Pieces of audio, as prompts."""
        ...


@runtime_checkable
class SupportsEagle(Protocol):
    """An Eagle head may draft from the model's last hidden states."""

    supports_eagle: ClassVar[Literal[True]] = True


@runtime_checkable
class SupportsEagle3(Protocol):
    """An Eagle-3 head may draft from hidden states of several blocks."""

    supports_eagle3: ClassVar[Literal[True]] = True

    def set_aux_hidden_state_layers(self, layers: tuple[int, ...]) -> None:
        """Which blocks' hidden states `forward` gives besides."""
        ...


@runtime_checkable
class SupportsMRoPE(Protocol):
    """A token's rotary position has several components."""

    supports_mrope: ClassVar[Literal[True]] = True

    def get_mrope_input_positions(self, *args: Any, **kwargs: Any) -> Any:
        """(positions [components, tokens], the offset of the next position) of a prompt."""
        ...


@runtime_checkable
class SupportsScoreTemplate(Protocol):
    """Two texts are put into a prompt by the model."""

    supports_score_template: ClassVar[Literal[True]] = True

    @classmethod
    def get_score_template(cls, query: str, document: str) -> str | None:
        """The prompt."""
        ...

    @classmethod
    def post_process_tokens(cls, prompt: Any) -> None:
        """Change the prompt's tokens in place."""
        ...


def supports_lora(model: Any) -> bool:
    """True for a class or instance of `SupportsLoRA`."""
    return _flag(model, "supports_lora")


def supports_pp(model: Any) -> bool:
    """True for a class or instance of `SupportsPP` that has the method."""
    return _flag(model, "supports_pp") and has_member(model, "make_empty_intermediate_tensors")


def supports_multimodal(model: Any) -> bool:
    """True for a class or instance of `SupportsMultiModal`."""
    return _flag(model, "supports_multimodal")


def supports_multimodal_raw_input_only(model: Any) -> bool:
    """True if items go to the model as they are, without embedding rows."""
    return _flag(model, "supports_multimodal_raw_input_only")


def supports_multimodal_encoder_tp_data(model: Any) -> bool:
    """True if the encoder may be copied to each device, each with some of the items."""
    return _flag(model, "supports_encoder_tp_data")


def has_inner_state(model: Any) -> bool:
    """True for a class or instance of `HasInnerState`."""
    return _flag(model, "has_inner_state")


def is_attention_free(model: Any) -> bool:
    """True for a class or instance of `IsAttentionFree`."""
    return _flag(model, "is_attention_free")


def is_hybrid(model: Any) -> bool:
    """True for a class or instance of `IsHybrid`."""
    return _flag(model, "is_hybrid")


def has_noops(model: Any) -> bool:
    """True for a class or instance of `HasNoOps`."""
    return _flag(model, "has_noops")


def is_mixture_of_experts(model: Any) -> bool:
    """True for an instance of `MixtureOfExperts` that has blocks with experts."""
    return isinstance(model, MixtureOfExperts) and model.num_moe_layers > 0


def supports_mamba_prefix_caching(model: Any) -> bool:
    """True for a class or instance of `SupportsMambaPrefixCaching`."""
    return _flag(model, "supports_mamba_prefix_caching")


def supports_cross_encoding(model: Any) -> bool:
    """True for a pooling class or instance of `SupportsCrossEncoding` (older ones have a flag of that name)."""
    is_cross = get_score_type(model) == "cross-encoder" or _flag(model, "supports_cross_encoding")
    return is_pooling_model(model) and is_cross


def supports_late_interaction(model: Any) -> bool:
    """True for a pooling class or instance of `SupportsLateInteraction`."""
    return is_pooling_model(model) and get_score_type(model) == "late-interaction"


def supports_transcription(model: Any) -> bool:
    """True for a class or instance of `SupportsTranscription`."""
    return _flag(model, "supports_transcription")


def supports_realtime(model: Any) -> bool:
    """True for a class or instance of `SupportsRealtime`."""
    return _flag(model, "supports_realtime")


def supports_eagle(model: Any) -> bool:
    """True for a class or instance of `SupportsEagle`."""
    return _flag(model, "supports_eagle")


def supports_eagle3(model: Any) -> bool:
    """True for a class or instance of `SupportsEagle3`."""
    return _flag(model, "supports_eagle3")


def supports_any_eagle(model: Any) -> bool:
    """True for a class or instance of `SupportsEagle` or `SupportsEagle3`."""
    return supports_eagle(model) or supports_eagle3(model)


def supports_mrope(model: Any) -> bool:
    """True for a class or instance of `SupportsMRoPE`."""
    return _flag(model, "supports_mrope")


def supports_score_template(model: Any) -> bool:
    """True for a class or instance of `SupportsScoreTemplate`."""
    return _flag(model, "supports_score_template")


def _flag(model: Any, name: str) -> bool:
    return bool(getattr(model, name, False))
