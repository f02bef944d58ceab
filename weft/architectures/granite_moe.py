"""Granite's mixtures of experts, with and without a shared expert, windows and sinks."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures.fine_experts import stacked
from weft.architectures.gguf_names import Rules, paired_qk, shared_expert, stacked_experts
from weft.architectures.granite import SINKS, granite_decoder, granite_mixers, windowed_mixers
from weft.architectures.names import NameMap
from weft.architectures.parts import experts, gated_mlp, llama_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, MoESpec

_MOE = "model.layers.{i}.block_sparse_moe."


@architecture("GraniteMoeForCausalLM")
def granite_moe(c: ConfigReader) -> DecoderSpec:
    """Granite 3, mixture of experts. Source: config.json of ibm-granite/granite-3.0-3b-a800m-base."""
    ffn = granite_experts(c)
    return granite_decoder(c, granite_mixers(c), ffn, granite_moe_names(ffn),
                           gguf={**paired_qk(c), **stacked_experts(ffn.num_experts)})


@architecture("GraniteMoeSharedForCausalLM")
def granite_moe_shared(c: ConfigReader) -> DecoderSpec:
    """Granite, mixture of experts with a shared one. Source: `granitemoeshared` of Transformers."""
    ffn = with_shared(c, granite_experts(c))
    return granite_decoder(c, granite_mixers(c), ffn, granite_moe_names(ffn),
                           gguf={**paired_qk(c), **stacked_experts(ffn.num_experts), **shared_expert()})


@architecture("GraniteMoeSWAForCausalLM")
def granite_moe_swa(c: ConfigReader) -> DecoderSpec:
    """The same with windows and sinks. Source: `granitemoe_swa` of Transformers."""
    ffn = with_shared(c, granite_experts(c))
    return granite_decoder(c, windowed_mixers(c), ffn, granite_moe_names(ffn))


def granite_experts(c: ConfigReader) -> MoESpec:
    """The routed experts."""
    return experts(c, expert=gated_mlp(c), renormalize=True, per_token=2)


def with_shared(c: ConfigReader, moe: MoESpec) -> MoESpec:
    """The same experts beside the shared one, if there is one."""
    size = c.count("shared_intermediate_size", default=1024)
    return replace(moe, shared=replace(moe.expert, intermediate_size=size)) if size > 0 else moe


def granite_moe_names(moe: MoESpec, more: Rules | None = None) -> NameMap:
    """The Hugging Face names. more: of other mixers."""
    return llama_names({
        **SINKS, **(more or {}),
        **stacked(moe, _MOE + "input_linear.weight", _MOE + "output_linear.weight"),
        **stacked(moe, _MOE + "experts.gate_up_proj", _MOE + "experts.down_proj"),
        _MOE + "router.layer": "blocks.{i}.ffn.router",
        _MOE + "router": "blocks.{i}.ffn.router",
        "model.layers.{i}.shared_mlp.input_linear": ("blocks.{i}.ffn.shared.gate", "blocks.{i}.ffn.shared.up"),
        "model.layers.{i}.shared_mlp.output_linear": "blocks.{i}.ffn.shared.down",
    })
