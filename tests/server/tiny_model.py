"""A Llama of a few thousand random weights with a byte tokenizer, as a directory: enough to run the real engine."""

from __future__ import annotations

import json
from pathlib import Path

from fake_engine import EOS, VOCAB_SIZE, byte_tokenizer

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
          "vocab_size": VOCAB_SIZE, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "hidden_act": "silu", "tie_word_embeddings": True, "eos_token_id": EOS, "torch_dtype": "float32"}


def write_tiny_model(directory: Path) -> Path:
    """The directory, now with everything but weights: start the engine with load_format="dummy"."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG))
    byte_tokenizer().hf.save_pretrained(directory)
    return directory
