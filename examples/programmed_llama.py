"""A Llama as its users would program it: plain torch, vLLM's model interface, weft's public layers."""

from torch import nn

from weft.layers.public import (
    Attention,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    QKVParallelLinear,
    RMSNorm,
    RowParallelLinear,
    SiluAndMul,
    VocabParallelEmbedding,
    default_weight_loader,
    get_rope,
    maybe_prefix,
)

_STACKED = (("qkv_proj", "q_proj", "q"), ("qkv_proj", "k_proj", "k"), ("qkv_proj", "v_proj", "v"),
            ("gate_up_proj", "gate_proj", 0), ("gate_up_proj", "up_proj", 1))


class Block(nn.Module):
    def __init__(self, config, cache_config, prefix):
        super().__init__()
        e, h, kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        d = getattr(config, "head_dim", None) or e // h
        self.q_size, self.kv_size = h * d, kv * d
        self.qkv_proj = QKVParallelLinear(e, d, h, kv, bias=False, prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(h * d, e, bias=False)
        self.rotary_emb = get_rope(d, rotary_dim=d, max_position=config.max_position_embeddings,
                                   rope_parameters=config.rope_parameters)
        self.attn = Attention(h, d, d ** -0.5, num_kv_heads=kv, cache_config=cache_config, prefix=f"{prefix}.attn")
        self.gate_up_proj = MergedColumnParallelLinear(e, [config.intermediate_size] * 2, bias=False)
        self.down_proj = RowParallelLinear(config.intermediate_size, e, bias=False)
        self.act_fn = SiluAndMul()
        self.input_layernorm = RMSNorm(e, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(e, eps=config.rms_norm_eps)

    def forward(self, positions, hidden, residual):
        if residual is None:
            residual, hidden = hidden, self.input_layernorm(hidden)
        else:
            hidden, residual = self.input_layernorm(hidden, residual)
        qkv, _ = self.qkv_proj(hidden)
        q, k, v = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        out, _ = self.o_proj(self.attn(q, k, v))
        hidden, residual = self.post_attention_layernorm(out, residual)
        x, _ = self.gate_up_proj(hidden)
        x, _ = self.down_proj(self.act_fn(x))
        return x, residual


class MyLlama(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, vllm_config.cache_config, maybe_prefix(prefix, f"layers.{i}"))
                                    for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size)
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size)

    def embed_input_ids(self, input_ids):
        return self.embed_tokens(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        hidden = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        residual = None
        for layer in self.layers:
            hidden, residual = layer(positions, hidden, residual)
        hidden, _ = self.norm(hidden, residual)
        return hidden

    def compute_logits(self, hidden_states):
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights):
        params, loaded = dict(self.named_parameters()), set()
        for name, tensor in weights:
            name = name.removeprefix("model.").replace("self_attn.", "").replace("mlp.", "")
            for fused, part, shard in _STACKED:
                if part in name:
                    name = name.replace(part, fused)
                    params[name].weight_loader(params[name], tensor, shard)
                    break
            else:
                if name == "lm_head.weight" and self.config.tie_word_embeddings:
                    continue
                default_weight_loader(params[name], tensor)
            loaded.add(name)
        return loaded
