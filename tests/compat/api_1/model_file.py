"""A model file: a Llama whose head has a scale of 1, made with the loaders and stages of `weft.layers.public`."""

from torch import nn

from weft.layers.public import (
    Attention,
    AutoWeightsLoader,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    QKVParallelLinear,
    RMSNorm,
    RowParallelLinear,
    SiluAndMul,
    VocabParallelEmbedding,
    WeightsMapper,
    get_rope,
    make_layers,
    maybe_prefix,
)

requires_model_api = 1


class Block(nn.Module):
    def __init__(self, config, cache_config, prefix):
        super().__init__()
        e, h, kv, d = config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.sizes = [h * d, kv * d, kv * d]
        self.qkv_proj = QKVParallelLinear(hidden_size=e, head_size=d, total_num_heads=h, total_num_kv_heads=kv,
                                          bias=False, prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(input_size=h * d, output_size=e, bias=False, prefix=f"{prefix}.o_proj")
        self.rotary_emb = get_rope(d, max_position=config.max_position_embeddings,
                                   rope_parameters=config.rope_parameters, is_neox_style=True)
        self.attn = Attention(num_heads=h, head_size=d, scale=d ** -0.5, num_kv_heads=kv, cache_config=cache_config,
                              prefix=f"{prefix}.attn")
        self.gate_up_proj = MergedColumnParallelLinear(input_size=e, output_sizes=[config.intermediate_size] * 2,
                                                       bias=False, prefix=f"{prefix}.gate_up_proj")
        self.down_proj = RowParallelLinear(config.intermediate_size, e, bias=False, prefix=f"{prefix}.down_proj")
        self.act_fn = SiluAndMul()
        self.input_layernorm = RMSNorm(e, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(e, eps=config.rms_norm_eps)

    def forward(self, positions, x):
        q, k, v = self.qkv_proj(self.input_layernorm(x))[0].split(self.sizes, dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        x = x + self.o_proj(self.attn(q, k, v))[0]
        return x + self.down_proj(self.act_fn(self.gate_up_proj(self.post_attention_layernorm(x))[0]))[0]


class FileLlamaForCausalLM(nn.Module):
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_substr={"self_attn.": "", "mlp.": ""}, orig_to_new_prefix={"model.": ""},
        orig_to_new_stacked={"q_proj": ("qkv_proj", "q"), "k_proj": ("qkv_proj", "k"), "v_proj": ("qkv_proj", "v"),
                             "gate_proj": ("gate_up_proj", 0), "up_proj": ("gate_up_proj", 1)})

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size)
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers, lambda prefix: Block(config, vllm_config.cache_config, prefix),
            prefix=maybe_prefix(prefix, "layers"))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, prefix=maybe_prefix(prefix, "lm_head"))
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size, scale=1.0)

    def embed_input_ids(self, input_ids):
        return self.embed_tokens(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        x = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        for layer in self.layers[self.start_layer:self.end_layer]:
            x = layer(positions, x)
        return self.norm(x)

    def compute_logits(self, hidden_states):
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights):
        skipped = ["lm_head."] if self.config.tie_word_embeddings else None
        return AutoWeightsLoader(self, skip_prefixes=skipped).load_weights(weights, mapper=self.hf_to_vllm_mapper)
