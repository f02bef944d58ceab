"""Reads the sizes that every config has, under all the key names that model families use.

`parts.py`, `rope.py` and the families call these functions, so that GPT-2's `n_embd` is a hidden size like any other.
"""

from __future__ import annotations

from typing import get_args

from weft.architectures.ffn_spec import Activation
from weft.architectures.reader import ConfigReader

ACTIVATIONS = get_args(Activation)      # `gemma.py` handles the "gelu" of old Gemma configs


def hidden_size(c: ConfigReader) -> int:
    """E, the width of the hidden states."""
    return c.positive("hidden_size", "n_embd", "n_embed", "d_model", "dim")


def num_layers(c: ConfigReader) -> int:
    """L, the number of layers."""
    return c.positive("num_hidden_layers", "n_layer", "n_layers", "num_layers")


def num_heads(c: ConfigReader) -> int:
    """H, the number of query heads."""
    return c.positive("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")


def num_kv_heads(c: ConfigReader) -> int:
    """Hkv, the number of KV heads: H unless the config says fewer. ConfigError unless it divides H."""
    heads = num_heads(c)
    kv_heads = c.positive("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise c.error("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads = {heads}")
    return kv_heads


def head_dim(c: ConfigReader) -> int:
    """D, the size of a head: `head_dim`, or hidden_size / num_attention_heads."""
    size = c.positive("head_dim", "d_kv", default=None)
    if size is None:
        width, heads = hidden_size(c), num_heads(c)
        if width % heads:
            raise c.error("num_attention_heads", heads, f"a divisor of hidden_size = {width}")
        size = width // heads
    return size


def max_position(c: ConfigReader) -> int | None:
    """The longest sequence in tokens that the model was made for, or None if the config does not say."""
    return c.positive("max_position_embeddings", "n_positions", default=None)


def check_token_ids(c: ConfigReader) -> None:
    """ConfigError for a special token that no vocabulary can have. Some configs say -1 for none."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
        value = c.value(name)
        for token in value if isinstance(value, list | tuple) else [value]:
            if token is not None and (not isinstance(token, int) or isinstance(token, bool) or token < -1):
                raise c.error(name, value, "a token id of at least 0; null or -1 for none")


def activation(c: ConfigReader, name: str = "hidden_act", *, default: Activation = "silu") -> Activation:
    """The activation function, a name in `ops/activation`. name: the config's key."""
    return c.choice(name, allowed=ACTIVATIONS, default=default)
