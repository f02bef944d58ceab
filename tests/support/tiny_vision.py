"""Tiny checkpoints of models with images, with tokenizer and processor, and the tokens that Transformers generates."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tiny_transformers import scatter
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

IMAGE_ID, SIDE, PATCH = 5, 28, 7
NUM_ROWS = (SIDE // PATCH) ** 2                # of an image of LLaVA
WORDS = [f"w{i}" for i in range(200)]
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<audio>", "<image>", "<boi>", "<eoi>"]
VOCAB_SIZE = len(_SPECIAL) + len(WORDS)
TEXT = {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
          "image_size": SIDE, "patch_size": PATCH}


def word_tokenizer(**more: str) -> PreTrainedTokenizerFast:
    """One token for each of WORDS."""
    backend = Tokenizer(WordLevel({token: i for i, token in enumerate([*_SPECIAL, *WORDS])}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=["<audio>", "<image>", "<boi>", "<eoi>"], **more)


def write_llava(directory: Path) -> Any:
    """A LLaVA of CLIP and Llama; its model of Transformers."""
    config = LlavaConfig(
        vision_config=_TOWER | {"model_type": "clip_vision_model", "projection_dim": 32},
        text_config=TEXT | {"model_type": "llama"}, image_token_index=IMAGE_ID, vision_feature_layer=-2)
    torch.manual_seed(0)                                   # scatter keeps a part of what vectors begin with
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    scatter(model)
    model.save_pretrained(directory)
    size = {"height": SIDE, "width": SIDE}
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=size), tokenizer=word_tokenizer(),
        patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template="{% for m in messages %}{% for part in m['content'] %}"
                      "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
                      "{% endfor %}{% endfor %}").save_pretrained(directory)
    return model


def picture(number: int, width: int = 40, height: int = 30) -> Image.Image:
    """Random colours, others for each number."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8))


@torch.inference_mode()
def generated(model: Any, processor: Any, text: str, images: Sequence[Any], count: int) -> list[int]:
    """Transformers' greedy tokens for a text with images."""
    given = processor(text=[text], images=list(images) or None, return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return ids[0, given["input_ids"].shape[1]:].tolist()


_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
_QWEN_TEXT = TEXT | {"rope_parameters": _MROPE}
_QWEN_TOWER = {"depth": 2, "num_heads": 2, "in_channels": 3, "patch_size": PATCH, "spatial_merge_size": 2,
               "temporal_patch_size": 2}
_QWEN_IDS = {"image_token_id": IMAGE_ID, "video_token_id": 4, "vision_start_token_id": 6, "vision_end_token_id": 7}
# name -> (class without its ending, values of its config, image processor, its values). Each has one thing that must
# be right: positions in three channels, rows for several layers (DeepStack), a state and such positions, images whose
# tokens see each other, a prompt whose tokens do, a second tower with attention of its own (SAM).
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "qwen2-vl": ("Qwen2VL", _QWEN_IDS | {
        "text_config": _QWEN_TEXT, "vision_config": _QWEN_TOWER | {"embed_dim": 32, "hidden_size": 64}},
        "Qwen2VLImageProcessorPil", {"patch_size": PATCH, "size": {"shortest_edge": 14 * 28, "longest_edge": 42 * 28}}),
    "qwen3-vl": ("Qwen3VL", _QWEN_IDS | {
        "text_config": _QWEN_TEXT, "vision_config": _QWEN_TOWER | {
            "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1]}},
        "Qwen2VLImageProcessorPil", {"patch_size": PATCH, "size": {"shortest_edge": 14 * 28, "longest_edge": 42 * 28}}),
    "qwen3.5": ("Qwen3_5", _QWEN_IDS | {
        "text_config": _QWEN_TEXT | {
            "rope_parameters": _MROPE | {"partial_rotary_factor": 1.0}, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"]},
        "vision_config": _QWEN_TOWER | {
            "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64, "num_position_embeddings": 64}},
        "Qwen2VLImageProcessorPil", {"patch_size": PATCH, "size": {"shortest_edge": 14 * 28, "longest_edge": 42 * 28}}),
    "gemma3": ("Gemma3", {
        "image_token_index": IMAGE_ID, "boi_token_index": 6, "eoi_token_index": 7, "mm_tokens_per_image": 4,
        "text_config": TEXT | {"num_hidden_layers": 4, "sliding_window": 9, "query_pre_attn_scalar": 16,
                               "layer_types": ["sliding_attention", "full_attention"] * 2},
        "vision_config": _TOWER | {"model_type": "siglip_vision_model"}},
        "Gemma3ImageProcessorPil", {"size": {"height": SIDE, "width": SIDE}}),
    "paligemma": ("PaliGemma", {
        "image_token_index": IMAGE_ID, "text_config": TEXT | {"model_type": "gemma"}, "projection_dim": 64,
        "vision_config": _TOWER | {"model_type": "siglip_vision_model", "projection_dim": 64}},
        "SiglipImageProcessorPil", {"size": {"height": SIDE, "width": SIDE}}),
    "deepseek-vl-hybrid": ("DeepseekVLHybrid", {
        "image_token_id": IMAGE_ID, "text_config": TEXT | {"model_type": "llama"},
        "vision_config": _TOWER | {"model_type": "siglip_vision_model"},
        "high_res_vision_config": _TOWER | {"model_type": "sam_vision_model", "image_size": 2 * SIDE, "mlp_dim": 48,
                                            "output_channels": 8, "num_pos_feats": 16, "global_attn_indexes": [2]}},
        "DeepseekVLHybridImageProcessorPil", {
            "size": {"height": SIDE, "width": SIDE}, "high_res_size": {"height": 2 * SIDE, "width": 2 * SIDE}}),
}


def write_kind_with_images(directory: Path, kind: str) -> tuple[Any, Any]:
    """A checkpoint without a processor, only with an image processor: (its model of Transformers, that)."""
    stem, values, processor_name, processor_values = KINDS[kind]
    cls = getattr(transformers, f"{stem}ForConditionalGeneration")
    torch.manual_seed(0)
    model = cls._from_config(cls.config_class(**values), attn_implementation="eager").eval()
    scatter(model)
    model.save_pretrained(directory)
    processor = getattr(transformers, processor_name)(**processor_values)
    processor.save_pretrained(directory)
    return model, processor


@torch.inference_mode()
def prompt_and_answer(model: Any, processor: Any, parts: Sequence[int | Image.Image], count: int) -> tuple[
        list[int], list[int]]:
    """(token ids with one image token for each row, Transformers' greedy tokens). parts: token ids and images."""
    images = [part for part in parts if not isinstance(part, int)]
    given = dict(processor(images=images, return_tensors="pt")) if images else {}
    taken = {name: x for name, x in given.items() if name in inspect.signature(model.forward).parameters}
    rows = iter(_num_rows(model, taken, len(images)))
    ids = [token for part in parts for token in ([part] if isinstance(part, int) else [6, *[IMAGE_ID] * next(rows), 7])]
    marks = torch.zeros(1, len(ids)) if model.config.model_type == "paligemma" else torch.tensor([ids]) == IMAGE_ID
    types = {name: marks.long() for name in ("mm_token_type_ids", "token_type_ids")
             if name in inspect.signature(model.forward).parameters and (images or name != "token_type_ids")}
    found = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
                           max_new_tokens=count, min_new_tokens=count, do_sample=False, **taken, **types)
    return ids, found[0, len(ids):].tolist()


def _num_rows(model: Any, given: dict[str, Any], num: int) -> list[int]:
    if "image_grid_thw" in given:
        return (given["image_grid_thw"].prod(-1) // 4).tolist()
    return [getattr(model.config, "mm_tokens_per_image", NUM_ROWS)] * num
