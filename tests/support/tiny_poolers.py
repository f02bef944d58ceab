"""Tiny classifiers and embedders with random weights, as Transformers writes them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from tiny_encoders import MAX_LEN, SIZES
from torch import Tensor, nn

from weft import LLM

GROUPED = {"num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": MAX_LEN, "bos_token_id": None,
           "eos_token_id": None}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
        "n_positions": MAX_LEN}


def write_model(directory: Path, class_name: str, **values: object) -> nn.Module:
    """Write a checkpoint of a class of Transformers into a directory; the model that it is from."""
    torch.manual_seed(5)
    stem = next(class_name.removesuffix(end) for end in (
        "ForSequenceClassification", "ForTokenClassification", "ForCausalLM", "LMHeadModel", "Model")
        if class_name.endswith(end))
    sizes = {"vocab_size": SIZES["vocab_size"]} if stem == "GPT2" else SIZES
    config = getattr(transformers, f"{stem}Config")(**(sizes | values))
    model = getattr(transformers, class_name)(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():      # biases and norms too, so that a lost one shows
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    model.save_pretrained(directory)
    return model


def engine(path: Path, **options: object) -> LLM:
    return LLM(**({"model": str(path), "dtype": "float32", "skip_tokenizer_init": True, "num_threads": 1,
                   "use_tqdm_on_load": False} | options))


def logits_of(model: nn.Module, token_ids: list[int], **inputs: list[int]) -> Tensor:
    """What Transformers gives for one prompt, without its batch dimension."""
    with torch.inference_mode():
        return model(torch.tensor([token_ids]), **{name: torch.tensor([x]) for name, x in inputs.items()}).logits[0]
