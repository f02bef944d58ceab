"""LLaVA as files of vLLM 0.12 and later write it, with a processor of its own: each image stands between two tokens,
and its rows at another id than Transformers has them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import nn
from transformers import BatchFeature, CLIPVisionModel, LlavaConfig
from vllm.config import VllmConfig
from vllm.config.multimodal import BaseDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsMultiModal
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
)
from vllm.utils.tensor_schema import TensorSchema, TensorShape

BEGIN, ROW, END = 6, 4, 7


class MyPixels(TensorSchema):
    type: Literal["pixel_values"] = "pixel_values"
    data: Annotated[torch.Tensor, TensorShape("bn", 3, "h", "w")]


class MyInfo(BaseProcessingInfo):
    def get_hf_config(self):
        return self.ctx.get_hf_config(LlavaConfig)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": 2}

    def get_image_processor(self, **kwargs: object):
        return self.ctx.get_hf_image_processor(**kwargs)


class MyDummyInputs(BaseDummyInputsBuilder[MyInfo]):
    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        return "<image> " * mm_counts.get("image", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int],
                          mm_options: Mapping[str, BaseDummyOptions] | None = None) -> MultiModalDataDict:
        return {"image": self._get_dummy_images(width=40, height=30, num_images=mm_counts.get("image", 0))}


class MyProcessor(BaseMultiModalProcessor[MyInfo]):
    def _call_hf_processor(self, prompt: str, mm_data: Mapping[str, object], mm_kwargs: Mapping[str, object],
                           tok_kwargs: Mapping[str, object]) -> BatchFeature:
        ids = self.info.get_tokenizer().encode(prompt, **tok_kwargs)
        images = mm_data.get("images", [])
        values = [self.info.get_image_processor(**mm_kwargs)(image, return_tensors="pt")["pixel_values"]
                  for image in images]
        return BatchFeature({"input_ids": [ids], "pixel_values": torch.cat(values), "sizes": [len(x) for x in values],
                             "side": torch.tensor(self.info.get_hf_config().vision_config.image_size)})

    def _hf_processor_applies_updates(self, prompt_text: str, mm_items: MultiModalDataItems,
                                      hf_processor_mm_kwargs: Mapping[str, object],
                                      tokenization_kwargs: Mapping[str, object]) -> bool:
        return False

    def _get_mm_fields_config(self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
                              ) -> Mapping[str, MultiModalFieldConfig]:
        sizes = torch.tensor(hf_inputs["sizes"])
        return {"pixel_values": MultiModalFieldConfig.flat_from_sizes("image", sizes),
                "side": MultiModalFieldConfig.shared("image", len(sizes))}

    def _get_prompt_updates(self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, object],
                            out_mm_kwargs: MultiModalKwargsItems) -> Sequence[PromptUpdate]:
        patch = self.info.get_hf_config().vision_config.patch_size

        def rows(item_idx: int) -> PromptUpdateDetails:
            side = int(out_mm_kwargs["image"][item_idx]["side"].data)
            return PromptUpdateDetails.select_token_id([BEGIN, *[ROW] * (side // patch) ** 2, END], embed_token_id=ROW)

        return [PromptReplacement(modality="image", target="<image>", replacement=rows)]


class MyProjector(nn.Module):
    def __init__(self, config: LlavaConfig):
        super().__init__()
        self.first = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)
        self.second = nn.Linear(config.text_config.hidden_size, config.text_config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(nn.functional.gelu(self.first(x)))


@MULTIMODAL_REGISTRY.register_processor(MyProcessor, info=MyInfo, dummy_inputs=MyDummyInputs)
class MyG2ForConditionalGeneration(nn.Module, SupportsMultiModal):
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={
        "vision_tower.": "tower.", "multi_modal_projector.linear_1.": "projector.first.",
        "multi_modal_projector.linear_2.": "projector.second.", "language_model.": "decoder."})

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        return "<image>" if modality == "image" else None

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        with self._mark_tower_model(vllm_config, "image"):
            self.tower = CLIPVisionModel(config.vision_config)
            self.projector = MyProjector(config)
        with self._mark_language_model(vllm_config):
            self.decoder = init_vllm_registered_model(
                vllm_config=vllm_config, hf_config=config.text_config, prefix=maybe_prefix(prefix, "decoder"),
                architectures=["LlamaForCausalLM"])

    def embed_multimodal(self, **kwargs: object) -> MultiModalEmbeddings:
        given = MyPixels(data=kwargs["pixel_values"], resolve_bindings={"h": int(kwargs["side"])})
        states = self.tower(given["data"], output_hidden_states=True).hidden_states
        return list(self.projector(states[self.config.vision_feature_layer][:, 1:]))

    def forward(self, input_ids: torch.Tensor | None, positions: torch.Tensor, intermediate_tensors=None,
                inputs_embeds: torch.Tensor | None = None, **kwargs: object) -> torch.Tensor:
        return self.decoder.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.decoder.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)
