"""Tiny checkpoints of models with images, with tokenizer and processor, and the tokens that Transformers generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<extra>", "<image>", "<boi>", "<eoi>"]
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
        additional_special_tokens=["<image>", "<boi>", "<eoi>"], **more)


def write_llava(directory: Path) -> Any:
    """A LLaVA of CLIP and Llama; its model of Transformers."""
    config = LlavaConfig(
        vision_config=_TOWER | {"model_type": "clip_vision_model", "projection_dim": 32},
        text_config=TEXT | {"model_type": "llama"}, image_token_index=IMAGE_ID, vision_feature_layer=-2)
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
