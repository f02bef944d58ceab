"""BART (arXiv:1910.13461) as its users would program it: an encoder beside the decoder, weft's public layers."""

from torch import nn

from weft.layers.public import (
    Attention,
    AttentionType,
    AutoWeightsLoader,
    ColumnParallelLinear,
    LogitsProcessor,
    MergedColumnParallelLinear,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    WeightsMapper,
    get_act_fn,
    make_layers,
    maybe_prefix,
)


class Embedding(nn.Module):
    """Tokens and learned positions, which are stored from row 2 on."""

    def __init__(self, config, tokens):
        super().__init__()
        e = config.d_model
        self.scale = e ** 0.5 if config.scale_embedding else 1.0
        self.embed_tokens = tokens
        self.embed_positions = VocabParallelEmbedding(config.max_position_embeddings + 2, e)
        self.layernorm_embedding = nn.LayerNorm(e)

    def forward(self, input_ids, positions):
        x = self.embed_tokens(input_ids) * self.scale + self.embed_positions(positions + 2)
        return self.layernorm_embedding(x)


class SelfAttention(nn.Module):
    def __init__(self, config, heads, attn_type, prefix):
        super().__init__()
        e, d = config.d_model, config.d_model // heads
        self.qkv_proj = QKVParallelLinear(e, d, heads, bias=True, prefix=f"{prefix}.qkv_proj")
        self.out_proj = RowParallelLinear(e, e, bias=True, prefix=f"{prefix}.out_proj")
        self.attn = Attention(self.qkv_proj.num_heads, d, d ** -0.5, attn_type=attn_type, prefix=f"{prefix}.attn")

    def forward(self, x):
        q, k, v = self.qkv_proj(x)[0].split(self.qkv_proj.output_partition_sizes, dim=-1)
        return self.out_proj(self.attn(q, k, v))[0]


class CrossAttention(nn.Module):
    """states: the encoder's, of sequences that start; None in steps in which none starts."""

    def __init__(self, config, heads, prefix):
        super().__init__()
        e, d = config.d_model, config.d_model // heads
        self.q_proj = ColumnParallelLinear(e, e, bias=True, prefix=f"{prefix}.q_proj")
        self.kv_proj = MergedColumnParallelLinear(e, [e, e], bias=True, prefix=f"{prefix}.kv_proj")
        self.out_proj = RowParallelLinear(e, e, bias=True, prefix=f"{prefix}.out_proj")
        self.attn = Attention(heads, d, d ** -0.5, attn_type=AttentionType.ENCODER_DECODER, prefix=f"{prefix}.attn")

    def forward(self, x, states):
        k, v = (None, None) if states is None else self.kv_proj(states)[0].chunk(2, dim=-1)
        return self.out_proj(self.attn(self.q_proj(x)[0], k, v))[0]


class Block(nn.Module):
    """A layer of the encoder, or of the decoder (`has_cross`). Norms come after the residual is added."""

    def __init__(self, config, heads, inner, *, has_cross, prefix):
        super().__init__()
        e, kind = config.d_model, AttentionType.DECODER if has_cross else AttentionType.ENCODER
        self.self_attn = SelfAttention(config, heads, kind, f"{prefix}.self_attn")
        self.self_attn_layer_norm = nn.LayerNorm(e)
        if has_cross:
            self.encoder_attn = CrossAttention(config, heads, f"{prefix}.encoder_attn")
            self.encoder_attn_layer_norm = nn.LayerNorm(e)
        self.fc1 = ColumnParallelLinear(e, inner, bias=True, prefix=f"{prefix}.fc1")
        self.fc2 = RowParallelLinear(inner, e, bias=True, prefix=f"{prefix}.fc2")
        self.act, self.has_cross = get_act_fn(config.activation_function), has_cross
        self.final_layer_norm = nn.LayerNorm(e)

    def forward(self, x, states=None):
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        if self.has_cross:
            x = self.encoder_attn_layer_norm(x + self.encoder_attn(x, states))
        return self.final_layer_norm(x + self.fc2(self.act(self.fc1(x)[0]))[0])


class Encoder(Embedding):
    def __init__(self, config, tokens, prefix):
        super().__init__(config, tokens)
        _, _, self.layers = make_layers(config.encoder_layers, lambda prefix: Block(
            config, config.encoder_attention_heads, config.encoder_ffn_dim, has_cross=False, prefix=prefix),
            prefix=f"{prefix}.layers")

    def forward(self, input_ids, positions):
        x = super().forward(input_ids, positions)
        for layer in self.layers:
            x = layer(x)
        return x


class Decoder(Embedding):
    def __init__(self, config, tokens, prefix):
        super().__init__(config, tokens)
        _, _, self.layers = make_layers(config.decoder_layers, lambda prefix: Block(
            config, config.decoder_attention_heads, config.decoder_ffn_dim, has_cross=True, prefix=prefix),
            prefix=f"{prefix}.layers")

    def forward(self, input_ids, positions, states):
        x = super().forward(input_ids, positions)
        for layer in self.layers:
            x = layer(x, states)
        return x


class MyBart(nn.Module):
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"model.": ""},
        orig_to_new_stacked={".self_attn.q_proj": (".self_attn.qkv_proj", "q"),
                             ".self_attn.k_proj": (".self_attn.qkv_proj", "k"),
                             ".self_attn.v_proj": (".self_attn.qkv_proj", "v"),
                             ".encoder_attn.k_proj": (".encoder_attn.kv_proj", 0),
                             ".encoder_attn.v_proj": (".encoder_attn.kv_proj", 1)})

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.shared = VocabParallelEmbedding(config.vocab_size, config.d_model)
        self.encoder = Encoder(config, self.shared, maybe_prefix(prefix, "encoder"))
        self.decoder = Decoder(config, self.shared, maybe_prefix(prefix, "decoder"))
        self.logits_processor = LogitsProcessor(config.vocab_size)

    def embed_input_ids(self, input_ids):
        return self.shared(input_ids)

    def forward(self, input_ids, positions, *, encoder_input_ids, encoder_positions, intermediate_tensors=None,
                inputs_embeds=None):
        states = self.encoder(encoder_input_ids, encoder_positions) if encoder_input_ids.numel() else None
        return self.decoder(input_ids, positions, states)

    def compute_logits(self, hidden_states):
        return self.logits_processor(self.shared, hidden_states)

    def load_weights(self, weights):
        return AutoWeightsLoader(self, skip_prefixes=["lm_head.", "final_logits_bias"]).load_weights(
            weights, mapper=self.hf_to_vllm_mapper)
