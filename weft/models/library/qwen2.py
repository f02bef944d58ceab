"""Qwen2 as a programmed model, with the classes and attribute names of vLLM's module of this name.

Source: arXiv:2407.10671, and the config and tensor names of Qwen/Qwen2-7B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from weft.layers.public import (
    AutoWeightsLoader,
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    PPMissingLayer,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    WeightsMapper,
    extract_layer_index,
    get_act_and_mul_fn,
    get_rope,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.models.library.ends import DecoderStack, HeadedModel
from weft.models.vllm.layers import Attention, RMSNorm
from weft.parallel import get_pp_group, get_tensor_model_parallel_world_size

STACKED = {f".{name}_proj.": (".qkv_proj.", name) for name in "qkv"} | {
    ".gate_proj.": (".gate_up_proj.", 0), ".up_proj.": (".gate_up_proj.", 1)}


class Qwen2MLP(nn.Module):
    """A gated MLP. forward: [T, E] -> [T, E]."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str, quant_config: Any = None,
                 reduce_results: bool = True, prefix: str = "") -> None:
        super().__init__()
        self.gate_up_proj = MergedColumnParallelLinear(hidden_size, [intermediate_size] * 2, bias=False,
                                                       quant_config=quant_config, prefix=f"{prefix}.gate_up_proj")
        self.down_proj = RowParallelLinear(intermediate_size, hidden_size, bias=False, reduce_results=reduce_results,
                                           quant_config=quant_config, prefix=f"{prefix}.down_proj")
        self.act_fn = get_act_and_mul_fn(hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        gate_up, _ = self.gate_up_proj(x)
        out, _ = self.down_proj(self.act_fn(gate_up))
        return out


class Qwen2Attention(nn.Module):
    """Grouped-query attention with biases of q, k and v. Subclasses may norm q and k (`normed`)."""

    qkv_bias = True
    o_bias = False

    def __init__(self, hidden_size: int, num_heads: int, num_kv_heads: int,
                 rope_parameters: Mapping[str, Any] | None = None, max_position: int = 4096 * 32,
                 cache_config: Any = None, quant_config: Any = None, prefix: str = "", attn_type: str = "decoder",
                 dual_chunk_attention_config: Any = None, *, head_dim: int | None = None,
                 per_layer_sliding_window: int | None = None) -> None:
        super().__init__()
        ranks = get_tensor_model_parallel_world_size()
        self.hidden_size, self.total_num_heads, self.total_num_kv_heads = hidden_size, num_heads, num_kv_heads
        self.num_heads, self.num_kv_heads = num_heads // ranks, max(1, num_kv_heads // ranks)
        self.head_dim = head_dim or hidden_size // num_heads
        self.q_size, self.kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.scaling = self.head_dim ** -0.5
        self.qkv_proj = QKVParallelLinear(hidden_size, self.head_dim, num_heads, num_kv_heads, bias=self.qkv_bias,
                                          quant_config=quant_config, prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(num_heads * self.head_dim, hidden_size, bias=self.o_bias,
                                        quant_config=quant_config, prefix=f"{prefix}.o_proj")
        self.rotary_emb = get_rope(self.head_dim, max_position=max_position, rope_parameters=rope_parameters,
                                   dual_chunk_attention_config=dual_chunk_attention_config)
        self.attn = Attention(self.num_heads, self.head_dim, self.scaling, num_kv_heads=self.num_kv_heads,
                              cache_config=cache_config, quant_config=quant_config, attn_type=attn_type,
                              per_layer_sliding_window=per_layer_sliding_window, prefix=f"{prefix}.attn")

    def normed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """q [T, H * D] and k [T, Hkv * D] before their rotation, unchanged."""
        return q, k

    def forward(self, positions: Tensor, hidden_states: Tensor) -> Tensor:
        """[T], [T, E] -> [T, E]."""
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary_emb(positions, *self.normed(q, k))
        out, _ = self.o_proj(self.attn(q, k, v))
        return out


class Qwen2DecoderLayer(nn.Module):
    """A layer: attention and MLP behind their norms."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.hidden_size = config.hidden_size
        self.self_attn = self.make_attention(config, cache_config, quant_config, f"{prefix}.self_attn")
        self.mlp = Qwen2MLP(config.hidden_size, config.intermediate_size, config.hidden_act, quant_config,
                            prefix=f"{prefix}.mlp")
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def make_attention(self, config: Any, cache_config: Any, quant_config: Any, prefix: str) -> nn.Module:
        """The attention of this layer."""
        return Qwen2Attention(config.hidden_size, config.num_attention_heads, config.num_key_value_heads,
                              config.rope_parameters, config.max_position_embeddings, cache_config, quant_config,
                              prefix, dual_chunk_attention_config=getattr(config, "dual_chunk_attention_config", None),
                              per_layer_sliding_window=window_of(config, prefix))

    def forward(self, positions: Tensor, hidden_states: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """(what the next norm adds to the residual stream, the stream), each [T, E]."""
        stream = hidden_states
        if residual is None:
            hidden_states = self.input_layernorm(hidden_states)
        else:
            hidden_states, stream = self.input_layernorm(hidden_states, residual)
        hidden_states = self.self_attn(positions=positions, hidden_states=hidden_states)
        hidden_states, stream = self.post_attention_layernorm(hidden_states, stream)
        return self.mlp(hidden_states), stream


class Qwen2Model(DecoderStack):
    """Embedding, layers, final norm. decoder_layer_type: the class, or a function, that makes a layer."""

    def __init__(self, *, vllm_config: Any, prefix: str = "",
                 decoder_layer_type: Callable[..., nn.Module] = Qwen2DecoderLayer) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_text_config
        self.config, self.quant_config, self.vocab_size = config, vllm_config.quant_config, config.vocab_size
        group = get_pp_group()
        if group.is_first_rank or (config.tie_word_embeddings and group.is_last_rank):
            self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.hidden_size,
                                                       quant_config=self.quant_config, prefix=f"{prefix}.embed_tokens")
        else:
            self.embed_tokens = PPMissingLayer()
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers,
            lambda prefix: decoder_layer_type(config=config, cache_config=vllm_config.cache_config,
                                              quant_config=self.quant_config, prefix=prefix),
            prefix=f"{prefix}.layers")
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps) if group.is_last_rank else PPMissingLayer()
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader, with q, k, v and gate, up as parts of one matrix each."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=WeightsMapper(orig_to_new_stacked=STACKED))


class Qwen2ForCausalLM(HeadedModel):
    """Qwen2 with its head. model_type: the class of what is below the head."""

    model_type: type[Qwen2Model] = Qwen2Model
    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"],        # noqa: RUF012
                              "gate_up_proj": ["gate_proj", "up_proj"]}

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_text_config
        self.config, self.quant_config = config, vllm_config.quant_config
        self.model = self.model_type(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        if not get_pp_group().is_last_rank:
            self.lm_head: nn.Module = PPMissingLayer()
        elif config.tie_word_embeddings:
            self.lm_head = self.model.embed_tokens
        else:
            self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=self.quant_config,
                                          prefix=maybe_prefix(prefix, "lm_head"))
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors


def window_of(config: Any, prefix: str) -> int | None:
    """The window of the layer with this name, by the config's `layer_types`; None: the layer sees every token."""
    types = getattr(config, "layer_types", None)
    is_sliding = types is not None and types[extract_layer_index(prefix)] == "sliding_attention"
    return config.sliding_window if is_sliding else None
