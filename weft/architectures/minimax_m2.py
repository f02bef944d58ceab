"""MiniMax M2: Mixtral with norms over all of q and k, rope on a part of each head, experts by biased sigmoid scores."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.mixtral import MIXTRAL_EXPERTS
from weft.architectures.parts import attention, decoder, experts, gated_mlp, llama_names, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, QKNorm

_BIAS = {"model.layers.{i}.block_sparse_moe.e_score_correction_bias": "blocks.{i}.ffn.choice.bias"}


@architecture("MiniMaxM2ForCausalLM")
def minimax_m2(c: ConfigReader) -> DecoderSpec:
    """MiniMax M2. Source: config.json of MiniMaxAI/MiniMax-M2."""
    norm = rms_norm(c)
    for name, value in (("scoring_func", "sigmoid"), ("use_qk_norm", True), ("qk_norm_type", "per_layer"),
                        ("use_routing_bias", True), ("shared_intermediate_size", 0)):
        c.expect(name, value, default=value)
    c.harmless("use_mtp", "num_mtp_modules", "mtp_transformer_layers", "attn_type_list", "mlp_intermediate_size",
               "layernorm_full_attention_beta", "layernorm_linear_attention_beta", "layernorm_mlp_beta")
    mixer = attention(c, positions=rope(c, theta=5e6, rotary_dim=c.positive("rotary_dim", default=None)),
                      qk_norm=QKNorm(norm=norm, scope="all"))
    ffn = replace(experts(c, expert=gated_mlp(c), renormalize=True, per_token=8), scores="sigmoid", choice_bias=True)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm,
                   names=llama_names(MIXTRAL_EXPERTS | _BIAS),
                   gguf=gguf_names({"blk.{i}.exp_probs_b": "blocks.{i}.ffn.choice"},
                                   stacked_experts(ffn.num_experts)))
