"""A Mixtral as its users would program it: the attention of examples/programmed_llama.py's kind, and a FusedMoE."""

from torch import nn

from weft.layers.public import (
    Attention,
    AutoWeightsLoader,
    FusedMoE,
    LogitsProcessor,
    ParallelLMHead,
    QKVParallelLinear,
    ReplicatedLinear,
    RMSNorm,
    RowParallelLinear,
    VocabParallelEmbedding,
    default_weight_loader,
    get_rope,
    make_layers,
    maybe_prefix,
)

_STACKED = (("qkv_proj", "q_proj", "q"), ("qkv_proj", "k_proj", "k"), ("qkv_proj", "v_proj", "v"))


class MixtralMoE(nn.Module):
    def __init__(self, config, quant_config, prefix):
        super().__init__()
        # The router stays in floats: its choice must be exact.
        self.gate = ReplicatedLinear(config.hidden_size, config.num_local_experts, bias=False, quant_config=None,
                                     prefix=f"{prefix}.gate")
        self.experts = FusedMoE(num_experts=config.num_local_experts, top_k=config.num_experts_per_tok,
                                hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
                                reduce_results=True, renormalize=True, quant_config=quant_config,
                                prefix=f"{prefix}.experts")

    def forward(self, hidden):
        router_logits, _ = self.gate(hidden)
        return self.experts(hidden, router_logits)


class MixtralAttention(nn.Module):
    def __init__(self, config, cache_config, quant_config, prefix):
        super().__init__()
        e, h, kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        d = getattr(config, "head_dim", None) or e // h
        self.qkv_proj = QKVParallelLinear(e, d, h, kv, bias=False, quant_config=quant_config,
                                          prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(h * d, e, bias=False, quant_config=quant_config, prefix=f"{prefix}.o_proj")
        self.rotary_emb = get_rope(d, max_position=config.max_position_embeddings,
                                   rope_parameters=config.rope_parameters)
        self.attn = Attention(self.qkv_proj.num_heads, d, d ** -0.5, num_kv_heads=self.qkv_proj.num_kv_heads,
                              per_layer_sliding_window=config.sliding_window, cache_config=cache_config,
                              quant_config=quant_config, prefix=f"{prefix}.attn")

    def forward(self, positions, hidden):
        qkv, _ = self.qkv_proj(hidden)
        q, k, v = qkv.split(self.qkv_proj.output_partition_sizes, dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        return self.o_proj(self.attn(q, k, v))[0]


class MixtralDecoderLayer(nn.Module):
    def __init__(self, config, cache_config, quant_config, prefix):
        super().__init__()
        self.self_attn = MixtralAttention(config, cache_config, quant_config, f"{prefix}.self_attn")
        self.block_sparse_moe = MixtralMoE(config, quant_config, f"{prefix}.block_sparse_moe")
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, positions, hidden, residual):
        if residual is None:
            residual, hidden = hidden, self.input_layernorm(hidden)
        else:
            hidden, residual = self.input_layernorm(hidden, residual)
        hidden = self.self_attn(positions, hidden)
        hidden, residual = self.post_attention_layernorm(hidden, residual)
        return self.block_sparse_moe(hidden), residual


class MixtralModel(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config, quant_config = vllm_config.model_config.hf_config, vllm_config.quant_config
        self.num_experts = config.num_local_experts
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size, quant_config=quant_config)
        _, _, self.layers = make_layers(
            config.num_hidden_layers,
            lambda prefix: MixtralDecoderLayer(config, vllm_config.cache_config, quant_config, prefix),
            prefix=f"{prefix}.layers")
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        hidden, residual = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds, None
        for layer in self.layers:
            hidden, residual = layer(positions, hidden, residual)
        return self.norm(hidden, residual)[0]

    def load_weights(self, weights):
        params, loaded = dict(self.named_parameters()), set()
        experts = FusedMoE.make_expert_params_mapping(ckpt_gate_proj_name="w1", ckpt_down_proj_name="w2",
                                                      ckpt_up_proj_name="w3", num_experts=self.num_experts)
        for name, tensor in weights:
            for fused, part, shard in _STACKED:
                if part in name:
                    name = name.replace(part, fused)
                    params[name].weight_loader(params[name], tensor, shard)
                    break
            else:
                for fused, part, expert, shard in experts:
                    if part in name:
                        name = name.replace(part, fused)
                        params[name].weight_loader(params[name], tensor, name, shard_id=shard, expert_id=expert)
                        break
                else:
                    default_weight_loader(params[name], tensor)
            loaded.add(name)
        return loaded


class MyMixtral(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.model = MixtralModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=vllm_config.quant_config)
        self.logits_processor = LogitsProcessor(config.vocab_size)

    def embed_input_ids(self, input_ids):
        return self.model.embed_tokens(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states):
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights):
        return AutoWeightsLoader(self).load_weights(weights)
