"""A Bloom as its users would program it: ALiBi in place of positions, torch's own norms, a head that may be tied."""

import math

from torch import nn

from weft.layers.public import (
    Attention,
    AutoWeightsLoader,
    ColumnParallelLinear,
    LogitsProcessor,
    ParallelLMHead,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    WeightsMapper,
    get_act_fn,
    make_layers,
    maybe_prefix,
)
from weft.parallel import get_tensor_model_parallel_rank


def alibi_slopes(num_heads):
    closest = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (i + 1) / closest) for i in range(closest)]
    return slopes + [2 ** (-4 * (2 * i + 1) / closest) for i in range(num_heads - closest)]


class BloomAttention(nn.Module):
    def __init__(self, config, cache_config, quant_config, prefix):
        super().__init__()
        self.total_heads, self.head_dim = config.n_head, config.hidden_size // config.n_head
        self.query_key_value = QKVParallelLinear(config.hidden_size, self.head_dim, config.n_head, bias=True,
                                                 quant_config=quant_config, prefix=f"{prefix}.query_key_value")
        self.dense = RowParallelLinear(config.hidden_size, config.hidden_size, bias=True, quant_config=quant_config,
                                       prefix=f"{prefix}.dense")
        heads = self.query_key_value.num_heads
        first = get_tensor_model_parallel_rank() * heads
        self.attn = Attention(heads, self.head_dim, self.head_dim ** -0.5,
                              alibi_slopes=alibi_slopes(config.n_head)[first : first + heads],
                              cache_config=cache_config, quant_config=quant_config, prefix=f"{prefix}.attn")

    def forward(self, hidden):
        q, k, v = self.query_key_value(hidden)[0].chunk(3, dim=-1)
        return self.dense(self.attn(q, k, v))[0]

    def load_weights(self, weights):
        """Rows of q, k and v come as [head, q k v, head_dim]; the layer has all of q, then k, then v."""
        params, loaded = dict(self.named_parameters()), set()
        for name, tensor in weights:
            if name.startswith("query_key_value."):
                rows = tensor.view(self.total_heads, 3, self.head_dim, *tensor.shape[1:])
                for part, shard in zip(rows.unbind(1), "qkv", strict=True):
                    params[name].weight_loader(params[name], part.reshape(-1, *tensor.shape[1:]), shard)
            else:
                params[name].weight_loader(params[name], tensor)
            loaded.add(name)
        return loaded


class BloomMLP(nn.Module):
    def __init__(self, config, quant_config, prefix):
        super().__init__()
        e = config.hidden_size
        self.dense_h_to_4h = ColumnParallelLinear(e, 4 * e, quant_config=quant_config, prefix=f"{prefix}.dense_h_to_4h")
        self.gelu = get_act_fn("gelu_pytorch_tanh")
        self.dense_4h_to_h = RowParallelLinear(4 * e, e, quant_config=quant_config, prefix=f"{prefix}.dense_4h_to_h")

    def forward(self, x):
        return self.dense_4h_to_h(self.gelu(self.dense_h_to_4h(x)[0]))[0]


class BloomBlock(nn.Module):
    def __init__(self, config, cache_config, quant_config, prefix):
        super().__init__()
        e, eps = config.hidden_size, config.layer_norm_epsilon
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(e, eps=eps), nn.LayerNorm(e, eps=eps)
        self.self_attention = BloomAttention(config, cache_config, quant_config, f"{prefix}.self_attention")
        self.mlp = BloomMLP(config, quant_config, f"{prefix}.mlp")

    def forward(self, hidden):
        hidden = hidden + self.self_attention(self.input_layernorm(hidden))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class BloomModel(nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config, quant_config = vllm_config.model_config.hf_config, vllm_config.quant_config
        e, eps = config.hidden_size, config.layer_norm_epsilon
        self.word_embeddings = VocabParallelEmbedding(config.vocab_size, e, quant_config=quant_config)
        self.word_embeddings_layernorm, self.ln_f = nn.LayerNorm(e, eps=eps), nn.LayerNorm(e, eps=eps)
        _, _, self.h = make_layers(config.num_hidden_layers, lambda prefix: BloomBlock(
            config, vllm_config.cache_config, quant_config, prefix), prefix=f"{prefix}.h")

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        hidden = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        hidden = self.word_embeddings_layernorm(hidden)
        for block in self.h:
            hidden = block(hidden)
        return self.ln_f(hidden)


class MyBloom(nn.Module):
    # Base-model checkpoints have `h.0...`, those with a head `transformer.h.0...`.
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_regex={r"^(?!transformer\.|lm_head\.)": "transformer."})

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.transformer = BloomModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "transformer"))
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=vllm_config.quant_config)
        self.is_tied = config.tie_word_embeddings
        if self.is_tied:
            self.lm_head = self.lm_head.tie_weights(self.transformer.word_embeddings)
        self.logits_processor = LogitsProcessor(config.vocab_size)

    def embed_input_ids(self, input_ids):
        return self.transformer.word_embeddings(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.transformer(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states):
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights):
        loader = AutoWeightsLoader(self, skip_prefixes=["lm_head."] if self.is_tied else None)
        return loader.load_weights(weights, mapper=self.hf_to_vllm_mapper)
