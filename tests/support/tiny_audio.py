"""Tiny checkpoints of models with audio, with tokenizer and processor, and the tokens that Transformers generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tiny_transformers import scatter
from tiny_vision import TEXT, word_tokenizer

AUDIO_ID, RATE, SECONDS = 4, 16_000, 1          # SECONDS: what the feature extractor looks at
_POSITIONS = 50 * SECONDS
_TOWER = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48,
          "num_mel_bins": 16, "max_source_positions": _POSITIONS}
_VOXTRAL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_mel_bins": 16, "max_source_positions": _POSITIONS}
TEMPLATE = ("{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'audio' %}<audio> {% else %}"
            "{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}")
# name -> (class, values of its config, class of the processor; None: the checkpoint has a feature extractor alone).
KINDS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "qwen2-audio": ("Qwen2Audio", {"text_config": TEXT | {"model_type": "qwen2"}, "audio_token_index": AUDIO_ID,
                                   "audio_config": _TOWER | {"model_type": "qwen2_audio_encoder"}},
                    "Qwen2AudioProcessor"),
    "audioflamingo3": ("AudioFlamingo3", {
        "text_config": TEXT | {"model_type": "qwen2"}, "audio_token_id": AUDIO_ID,
        "audio_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
                         "num_mel_bins": 16, "max_source_positions": _POSITIONS}}, "AudioFlamingo3Processor"),
    "voxtral": ("Voxtral", {"text_config": TEXT | {"model_type": "llama"}, "audio_token_id": AUDIO_ID,
                            "audio_config": _VOXTRAL}, None),
}


def write_audio_model(directory: Path, kind: str) -> tuple[Any, Any]:
    """A checkpoint: (its model of Transformers, its processor or feature extractor)."""
    stem, values, processor_name = KINDS[kind]
    cls = getattr(transformers, f"{stem}ForConditionalGeneration")
    torch.manual_seed(0)
    model = cls._from_config(cls.config_class(**values), attn_implementation="eager").eval()
    scatter(model)
    model.save_pretrained(directory)
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS)
    if processor_name is None:
        processor: Any = extractor
        word_tokenizer().save_pretrained(directory)
    else:
        processor = getattr(transformers, processor_name)(
            feature_extractor=extractor, tokenizer=word_tokenizer(), chat_template=TEMPLATE, audio_token="<audio>")
    processor.save_pretrained(directory)
    return model, processor


def clip(number: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """A tone with noise, another for each number."""
    random, times = np.random.default_rng(number), np.arange(int(seconds * rate)) / rate
    noise = random.normal(size=len(times)) * 0.1
    return (0.5 * np.sin(2 * np.pi * (200 + 150 * number) * times) + noise).astype(np.float32)


@torch.inference_mode()
def heard(model: Any, processor: Any, text: str, clips: Sequence[np.ndarray], count: int) -> list[int]:
    """Transformers' greedy tokens for a text with clips."""
    given = processor(text=[text], audio=list(clips) or None, sampling_rate=RATE, return_tensors="pt")
    ids = model.generate(**given, max_new_tokens=count, min_new_tokens=count, do_sample=False)
    return ids[0, given["input_ids"].shape[1]:].tolist()
