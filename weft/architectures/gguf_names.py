"""Tensor names in GGUF files: one vocabulary for all families, which each family may change and extend.

Besides its Hugging Face names, a family passes `gguf=gguf_names(...)` to `decoder`. The converter's changes to a
family's tensors (rows of q and k in pairs, stacked experts, 1 added to norms) are layouts of `names.py` on the rules.
Source: gguf-py/gguf/tensor_mapping.py and convert_hf_to_gguf.py of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.architectures import keys
from weft.architectures.names import NameMap, PairedRows, Rule, Shifted, SingleRow, Stacked, names
from weft.architectures.reader import ConfigReader

Rules = Mapping[str, str | tuple[str, ...] | Rule]

GGUF_NAMES = {
    "token_embd": "embedding.tokens",
    "output_norm": "final_norm",
    "output": "head",
    "blk.{i}.attn_norm": "blocks.{i}.mixer_norm",
    "blk.{i}.attn_q": "blocks.{i}.mixer.q",
    "blk.{i}.attn_k": "blocks.{i}.mixer.k",
    "blk.{i}.attn_v": "blocks.{i}.mixer.v",
    "blk.{i}.attn_output": "blocks.{i}.mixer.o",
    "blk.{i}.attn_q_norm": "blocks.{i}.mixer.q_norm",
    "blk.{i}.attn_k_norm": "blocks.{i}.mixer.k_norm",
    "blk.{i}.ffn_norm": "blocks.{i}.ffn_norm",
    "blk.{i}.ffn_gate": "blocks.{i}.ffn.gate",
    "blk.{i}.ffn_up": "blocks.{i}.ffn.up",
    "blk.{i}.ffn_down": "blocks.{i}.ffn.down",
}
GGUF_FUSED_QKV = {"blk.{i}.attn_qkv": ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")}
GGUF_POST_NORMS = {
    "blk.{i}.post_attention_norm": "blocks.{i}.mixer_post_norm",
    "blk.{i}.post_ffw_norm": "blocks.{i}.ffn_post_norm",
}
GGUF_ENCODER = {
    "token_types": "embedding.token_types",
    "position_embd": "embedding.positions",
    "token_embd_norm": "embedding.norm",
    "blk.{i}.attn_output_norm": "blocks.{i}.mixer_norm",
    "blk.{i}.layer_output_norm": "blocks.{i}.ffn_norm",
}
# Tensors that need no loading. `resolve/gguf/config.py` reads the rotary factors into the config.
_IGNORED = ("rope_freqs", "rope_factors_long", "rope_factors_short", "blk.{i}.attn_rot_embd")


def gguf_names(*changes: Rules, ignored_prefixes: tuple[str, ...] = ()) -> NameMap:
    """GGUF_NAMES with some rules added or replaced, as a NameMap. ignored_prefixes: as in NameMap."""
    merged: dict[str, str | tuple[str, ...] | Rule] = dict(GGUF_NAMES)
    for change in changes:
        merged |= change
    return names(merged, ignored=_IGNORED, ignored_prefixes=ignored_prefixes)


def paired_qk(c: ConfigReader) -> Rules:
    """Rules for q and k whose rows the converter reordered for rope on neighbouring pairs."""
    heads = {"q": keys.num_heads(c), "k": keys.num_kv_heads(c)}
    return {f"blk.{{i}}.attn_{name}": Rule(f"blk.{{i}}.attn_{name}", (f"blocks.{{i}}.mixer.{name}",),
                                           PairedRows(num_heads=count)) for name, count in heads.items()}


def stacked_experts(num_experts: int) -> Rules:
    """Rules for the router, and for experts: stacked in one tensor per matrix, or (in the first files) separate."""
    rules: dict[str, str | Rule] = {"blk.{i}.ffn_gate_inp": "blocks.{i}.ffn.router"}
    for name in ("gate", "up", "down"):
        source = f"blk.{{i}}.ffn_{name}_exps"
        targets = tuple(f"blocks.{{i}}.ffn.experts.{e}.{name}" for e in range(num_experts))
        rules[source] = Rule(source, targets, Stacked())
        rules[f"blk.{{i}}.ffn_{name}.{{e}}"] = f"blocks.{{i}}.ffn.experts.{{e}}.{name}"
    return rules


def shared_expert() -> Rules:
    """Rules for the shared expert, which every token passes, and its gate."""
    gate = "blk.{i}.ffn_gate_inp_shexp"
    return {f"blk.{{i}}.ffn_{name}_shexp": f"blocks.{{i}}.ffn.shared.{name}" for name in ("gate", "up", "down")} | {
        gate: Rule(gate, ("blocks.{i}.ffn.shared_gate",), SingleRow())}


def shifted_norms(by: float) -> Rules:
    """Rules for norms whose weights are stored with `by` added."""
    norms = {source: target for source, target in (GGUF_NAMES | GGUF_POST_NORMS).items() if source.endswith("norm")}
    return {source: Rule(source, (target,), Shifted(by=by)) for source, target in norms.items()}
