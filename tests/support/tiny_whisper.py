"""A tiny Whisper checkpoint with its tokenizer and feature extractor, and the tokens that Transformers' class gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny_audio import RATE, SECONDS
from tiny_transformers import scatter
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

_ROWS = 50 * SECONDS
_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
           "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>", *(f"<|{i / 50:.2f}|>" for i in range(_ROWS + 1))]
IDS = {text: len(_BYTES) + i for i, text in enumerate(SPECIAL)}
START = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
SUPPRESSED, NOT_FIRST = [7, 11, 19], [IDS["<|endoftext|>"], 5]
_EOS = IDS["<|endoftext|>"]
_TOKENS: dict[str, Any] = {"pad_token_id": _EOS, "bos_token_id": _EOS, "eos_token_id": _EOS,
           "decoder_start_token_id": IDS["<|startoftranscript|>"]}
CONFIG: dict[str, Any] = _TOKENS | {
    "vocab_size": len(_BYTES) + len(SPECIAL), "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_mel_bins": 16, "max_source_positions": _ROWS, "max_target_positions": 64}


def write_whisper(directory: Path) -> Any:
    """The model of Transformers that is written, with its files."""
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration._from_config(
        transformers.WhisperConfig(**CONFIG), attn_implementation="eager").eval()
    with torch.inference_mode():
        positions = model.model.encoder.embed_positions.weight.clone()
        scatter(model)
        model.model.encoder.embed_positions.weight.copy_(positions)
        for layer in model.model.decoder.layers:        # so that each token depends on what is heard
            layer.encoder_attn.out_proj.weight.mul_(4)
            layer.encoder_attn.q_proj.weight.mul_(3)
    model.generation_config = transformers.GenerationConfig(
        suppress_tokens=SUPPRESSED, begin_suppress_tokens=NOT_FIRST, no_timestamps_token_id=IDS["<|notimestamps|>"],
        lang_to_id={"<|en|>": IDS["<|en|>"], "<|de|>": IDS["<|de|>"]}, is_multilingual=True,
        task_to_id={"transcribe": IDS["<|transcribe|>"], "translate": IDS["<|translate|>"]}, **_TOKENS)
    model.save_pretrained(directory)
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS).save_pretrained(directory)
    _tokenizer().save_pretrained(directory)
    return model


def _tokenizer() -> PreTrainedTokenizerFast:
    """One token for each byte, and the special ones of Whisper."""
    backend = Tokenizer(BPE({token: i for i, token in enumerate(_BYTES)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=SPECIAL[0], bos_token=SPECIAL[0],
                                   pad_token=SPECIAL[0], additional_special_tokens=SPECIAL[1:])


@torch.inference_mode()
def transcribed(model: Any, samples: np.ndarray, decoder: list[int], count: int) -> list[int]:
    """Greedy tokens after a decoder's prompt, suppressed ones left out, each from the whole input anew."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS)
    features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
    ids = list(decoder)
    for place in range(count):
        logits = model(input_features=features, decoder_input_ids=torch.tensor([ids])).logits[0, -1].float()
        logits[SUPPRESSED + (NOT_FIRST if place == 0 else [])] = -torch.inf
        ids.append(int(logits.argmax()))
    return ids[len(decoder):]
