"""The sizes that every config has, under all the names that families give them.

`parts.py`, `rope.py` and the families ask here, so that GPT-2's `n_embd` is a hidden size like any other.
"""

from __future__ import annotations

from weft.resolve.reader import ConfigReader

# Names of `ops/activation`. Gemma's old "gelu" is handled by its family.
ACTIVATIONS = ("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "sigmoid", "silu",
               "swish", "tanh")


def hidden_size(c: ConfigReader) -> int:
    """E, the width of the hidden states."""
    return c.positive("hidden_size", "n_embd", "n_embed")


def num_layers(c: ConfigReader) -> int:
    """L."""
    return c.positive("num_hidden_layers", "n_layer")


def num_heads(c: ConfigReader) -> int:
    """H."""
    return c.positive("num_attention_heads", "n_head")


def num_kv_heads(c: ConfigReader) -> int:
    """Hkv: as many as there are heads unless the config says fewer."""
    heads = num_heads(c)
    kv_heads = c.positive("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise c.error("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads = {heads}")
    return kv_heads


def head_dim(c: ConfigReader) -> int:
    """D: `head_dim`, or hidden_size / num_attention_heads."""
    size = c.positive("head_dim", default=None)
    if size is None:
        width, heads = hidden_size(c), num_heads(c)
        if width % heads:
            raise c.error("num_attention_heads", heads, f"a divisor of hidden_size = {width}")
        size = width // heads
    return size


def max_position(c: ConfigReader) -> int | None:
    """The longest sequence the model was made for, where the config says."""
    return c.positive("max_position_embeddings", "n_positions", default=None)


def activation(c: ConfigReader, name: str = "hidden_act", *, default: str = "silu") -> str:
    """A name of `ops/activation`."""
    return c.choice(name, allowed=ACTIVATIONS, default=default)
