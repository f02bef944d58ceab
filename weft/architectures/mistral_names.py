"""Tensor names in files of Mistral's own format (consolidated*.safetensors).

Besides its Hugging Face names, a family with such files passes `mistral=mistral_names(c, ...)` to `decoder`. Rows of wq
and wk are ordered for rope on neighbouring pairs. Source: github.com/mistralai/mistral-inference, and the files of
mistralai's models.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.architectures import keys
from weft.architectures.names import NameMap, PairedRows, Rule, names
from weft.architectures.reader import ConfigReader

_NAMES = {
    "tok_embeddings": "embedding.tokens",
    "norm": "final_norm",
    "output": "head",
    "layers.{i}.attention_norm": "blocks.{i}.mixer_norm",
    "layers.{i}.attention.wv": "blocks.{i}.mixer.v",
    "layers.{i}.attention.wo": "blocks.{i}.mixer.o",
    "layers.{i}.ffn_norm": "blocks.{i}.ffn_norm",
    "layers.{i}.feed_forward.w1": "blocks.{i}.ffn.gate",
    "layers.{i}.feed_forward.w2": "blocks.{i}.ffn.down",
    "layers.{i}.feed_forward.w3": "blocks.{i}.ffn.up",
}
# Experts are named under feed_forward or, in newer files, directly under the layer.
MISTRAL_EXPERTS = {source.format(place=place, i="{i}", e="{e}"): target for place in ("feed_forward.", "")
                   for source, target in {
                       "layers.{i}.{place}gate": "blocks.{i}.ffn.router",
                       "layers.{i}.{place}experts.{e}.w1": "blocks.{i}.ffn.experts.{e}.gate",
                       "layers.{i}.{place}experts.{e}.w2": "blocks.{i}.ffn.experts.{e}.down",
                       "layers.{i}.{place}experts.{e}.w3": "blocks.{i}.ffn.experts.{e}.up",
                   }.items()}
# Scales of an 8-bit KV cache; weft's cache does not use scales from a checkpoint.
_IGNORED = tuple(f"layers.{{i}}.attention.{name}_fake_quantizer.qscale_act" for name in ("kv", "q", "k", "v"))


def mistral_names(c: ConfigReader, changes: Mapping[str, str] | None = None) -> NameMap:
    """The names of a consolidated file, with `changes` added or replaced."""
    heads = {"q": keys.num_heads(c), "k": keys.num_kv_heads(c)}
    paired = {f"layers.{{i}}.attention.w{name}": Rule(
        f"layers.{{i}}.attention.w{name}", (f"blocks.{{i}}.mixer.{name}",), PairedRows(num_heads=count))
        for name, count in heads.items()}
    return names(_NAMES | paired | dict(changes or {}), ignored=_IGNORED)
