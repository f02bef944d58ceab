"""Llama as a programmed model, for files that borrow its classes. Source: arXiv:2302.13971; names: vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.public import (
    LogitsProcessor,
    MergedColumnParallelLinear,
    ParallelLMHead,
    PPMissingLayer,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    default_weight_loader,
    extract_layer_index,
    get_act_and_mul_fn,
    get_rope,
    is_pp_missing_parameter,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
    maybe_remap_kv_scale_name,
)
from weft.models.interfaces import SupportsLoRA, SupportsPP
from weft.models.library.ends import DecoderStack, HeadedModel
from weft.models.vllm.config_views import CacheConfig
from weft.models.vllm.layers import Attention, RMSNorm
from weft.models.vllm.vllm_config import VllmConfig, spell_rope_both_ways
from weft.parallel import get_pp_group, get_tensor_model_parallel_world_size

_STACKED = ((".qkv_proj", ".q_proj", "q"), (".qkv_proj", ".k_proj", "k"), (".qkv_proj", ".v_proj", "v"),
            (".gate_up_proj", ".gate_proj", 0), (".gate_up_proj", ".up_proj", 1))


class LlamaMLP(nn.Module):
    """down(act(gate(x)) * up(x)). F: intermediate size."""

    def __init__(self, hidden_size: int, intermediate_size: int, hidden_act: str, quant_config: Any = None,
                 bias: bool = False, prefix: str = "", reduce_results: bool = True, disable_tp: bool = False) -> None:
        super().__init__()
        self.gate_up_proj = MergedColumnParallelLinear(hidden_size, [intermediate_size] * 2, bias=bias,
                                                       quant_config=quant_config, prefix=f"{prefix}.gate_up_proj",
                                                       disable_tp=disable_tp)
        self.down_proj = RowParallelLinear(intermediate_size, hidden_size, bias=bias, quant_config=quant_config,
                                           reduce_results=reduce_results, prefix=f"{prefix}.down_proj",
                                           disable_tp=disable_tp)
        self.act_fn = get_act_and_mul_fn(hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        x, _ = self.gate_up_proj(x)
        x, _ = self.down_proj(self.act_fn(x))
        return x


class LlamaAttention(nn.Module):
    """Grouped-query attention with rotary positions. Arguments of two generations of vLLM."""

    def __init__(self, config: Any, hidden_size: int, num_heads: int, num_kv_heads: int,
                 rope_theta: float | None = None, rope_scaling: dict[str, Any] | None = None,
                 max_position_embeddings: int = 8192, quant_config: Any = None, bias: bool = False,
                 bias_o_proj: bool = False, cache_config: CacheConfig | None = None, prefix: str = "",
                 attn_type: str = "decoder") -> None:
        super().__init__()
        ranks = get_tensor_model_parallel_world_size()
        self.layer_idx = extract_layer_index(prefix)
        self.hidden_size, self.total_num_heads, self.total_num_kv_heads = hidden_size, num_heads, num_kv_heads
        if num_heads % ranks:
            raise ConfigError("num_attention_heads", num_heads, expected=f"a multiple of {ranks} processes")
        self.num_heads, self.num_kv_heads = num_heads // ranks, max(1, num_kv_heads // ranks)
        self.head_dim = getattr(config, "head_dim", None) or hidden_size // num_heads
        self.q_size, self.kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.scaling = self.head_dim ** -0.5
        self.max_position_embeddings = max_position_embeddings
        self.qkv_proj = QKVParallelLinear(hidden_size, self.head_dim, num_heads, num_kv_heads, bias=bias,
                                          quant_config=quant_config, prefix=f"{prefix}.qkv_proj")
        self.o_proj = RowParallelLinear(num_heads * self.head_dim, hidden_size, bias=bias_o_proj,
                                        quant_config=quant_config, prefix=f"{prefix}.o_proj")
        self.rope_theta, self.rope_scaling = rope_theta, rope_scaling
        self._init_rotary_emb(config, rope_scaling, quant_config)
        self.attn = Attention(self.num_heads, self.head_dim, self.scaling, num_kv_heads=self.num_kv_heads,
                              cache_config=cache_config, quant_config=quant_config, attn_type=attn_type,
                              per_layer_sliding_window=self._window(config), prefix=f"{prefix}.attn")

    def _init_rotary_emb(self, config: Any, *unused: Any, **named: Any) -> None:
        """Make `rotary_emb`; files override this."""
        if self.rope_theta is None and self.rope_scaling is None:
            spell_rope_both_ways(config)
            self.rotary_emb = get_rope(self.head_dim, max_position=self.max_position_embeddings,
                                       rope_parameters=getattr(config, "rope_parameters", None))
        else:
            self.rotary_emb = get_rope(self.head_dim, max_position=self.max_position_embeddings, base=self.rope_theta,
                                       rope_scaling=self.rope_scaling,
                                       partial_rotary_factor=getattr(config, "partial_rotary_factor", None) or 1.0)

    def _window(self, config: Any) -> int | None:
        kinds = getattr(config, "layer_types", None)
        if kinds is None or kinds[self.layer_idx % len(kinds)] != "sliding_attention":
            return None
        return config.sliding_window

    def forward(self, positions: Tensor, hidden_states: Tensor, *older: Any) -> Tensor:
        """positions [T], hidden_states [T, E] -> [T, E]. older: the cache and metadata of generation g0, not used."""
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        output, _ = self.o_proj(self.attn(q, k, v))
        return output


class LlamaDecoderLayer(nn.Module):
    """A block: attention and MLP, each after a norm. Made by (vllm_config, prefix), or by a config as in older vLLM.

    attn_layer_type: the class of the attention.
    """

    def __init__(self, vllm_config: Any = None, *older: Any, prefix: str = "", config: Any = None,
                 cache_config: CacheConfig | None = None, quant_config: Any = None,
                 attn_layer_type: Callable[..., nn.Module] = LlamaAttention) -> None:
        super().__init__()
        config, cache_config, quant_config, prefix = _block_arguments(vllm_config, older, prefix, config, cache_config,
                                                                      quant_config)
        self.hidden_size = config.hidden_size
        attention_bias = getattr(config, "attention_bias", False) or getattr(config, "bias", False)
        self.self_attn = attn_layer_type(
            config=config, hidden_size=config.hidden_size, num_heads=config.num_attention_heads,
            num_kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            max_position_embeddings=getattr(config, "max_position_embeddings", 8192), quant_config=quant_config,
            bias=attention_bias or getattr(config, "qkv_bias", False), bias_o_proj=attention_bias,
            cache_config=cache_config, prefix=f"{prefix}.self_attn")
        self.mlp = LlamaMLP(config.hidden_size, config.intermediate_size, config.hidden_act, quant_config=quant_config,
                            bias=getattr(config, "mlp_bias", False), prefix=f"{prefix}.mlp")
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, positions: Tensor, hidden_states: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        """positions [T], hidden_states and residual [T, E] -> the next two. rest ends with the residual, or None."""
        residual = rest[-1] if rest else None
        if residual is None:
            residual, hidden_states = hidden_states, self.input_layernorm(hidden_states)
        else:
            hidden_states, residual = self.input_layernorm(hidden_states, residual)
        hidden_states = self.self_attn(positions, hidden_states)
        hidden_states, residual = self.post_attention_layernorm(hidden_states, residual)
        return self.mlp(hidden_states), residual


def _block_arguments(first: Any, older: tuple[Any, ...], prefix: str, config: Any, cache_config: Any, quant_config: Any
                     ) -> tuple[Any, Any, Any, str]:
    """(config, cache, quant, prefix) of calls with (vllm_config, prefix, config) or (config, cache, quant, prefix)."""
    if isinstance(first, VllmConfig):
        prefix, config = (*older, *(prefix, config)[len(older):])
        return config or first.model_config.hf_config, first.cache_config, first.quant_config, prefix
    cache_config, quant_config, prefix = (*older, *(cache_config, quant_config, prefix)[len(older):])
    return first if config is None else config, cache_config, quant_config, prefix


class LlamaModel(DecoderStack):
    """The blocks between token table and final norm. layer_type: the class of a block, or a function that makes one."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "", layer_type: Any = LlamaDecoderLayer) -> None:
        super().__init__()
        config, group = vllm_config.model_config.hf_config, get_pp_group()
        self.config, self.quant_config = config, vllm_config.quant_config
        self.vocab_size = self.org_vocab_size = config.vocab_size
        has_table = group.is_first_rank or (config.tie_word_embeddings and group.is_last_rank)
        self.embed_tokens = VocabParallelEmbedding(
            config.vocab_size, config.hidden_size, quant_config=vllm_config.quant_config,
            prefix=maybe_prefix(prefix, "embed_tokens")) if has_table else PPMissingLayer()
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers, lambda prefix: _block(layer_type, vllm_config, prefix),
            prefix=maybe_prefix(prefix, "layers"))
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps) if group.is_last_rank else PPMissingLayer()
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states", "residual"], config.hidden_size)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Names of the parameters that were filled. q, k and v go to one parameter, gate and up to another."""
        parameters, loaded = dict(self.named_parameters()), set()
        for name, tensor in weights:
            found = None if "rotary_emb." in name else maybe_remap_kv_scale_name(name, parameters)
            if found is None:
                continue
            found, shard = _fused(found)
            if (found.endswith(".bias") and found not in parameters) or is_pp_missing_parameter(found, self):
                continue
            parameter = parameters[found]
            loader: Any = getattr(parameter, "weight_loader", default_weight_loader)
            loader(parameter, tensor) if shard is None else loader(parameter, tensor, shard)
            loaded.add(found)
        return loaded


def _block(layer_type: Any, vllm_config: VllmConfig, prefix: str) -> nn.Module:
    """A block of the model: classes of older files take a config in place of vllm_config."""
    import inspect

    names = list(inspect.signature(layer_type).parameters)
    if names and names[0] == "config":
        return layer_type(config=vllm_config.model_config.hf_config, cache_config=vllm_config.cache_config,
                          quant_config=vllm_config.quant_config, prefix=prefix)
    return layer_type(vllm_config=vllm_config, prefix=prefix)


def _fused(name: str) -> tuple[str, str | int | None]:
    """(the parameter's name, the part of it) for a tensor's name."""
    for fused, part, shard in _STACKED:
        if part in name:
            return name.replace(part, fused), shard
    return name, None


class LlamaForCausalLM(HeadedModel, SupportsLoRA, SupportsPP):
    """Llama with its head."""

    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
    embedding_modules: ClassVar[dict[str, str]] = {"embed_tokens": "input_embeddings", "lm_head": "output_embeddings"}

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "", layer_type: Any = LlamaDecoderLayer) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.quant_config = config, vllm_config.quant_config
        self.model = self._init_model(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"),
                                      layer_type=layer_type)
        if get_pp_group().is_last_rank:
            self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=vllm_config.quant_config,
                                          prefix=maybe_prefix(prefix, "lm_head"))
            if config.tie_word_embeddings:
                self.lm_head = self.lm_head.tie_weights(self.model.embed_tokens)
        else:
            self.lm_head = PPMissingLayer()
        self.logits_processor = LogitsProcessor(config.vocab_size, scale=getattr(config, "logit_scale", None) or 1.0)
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors

    def _init_model(self, vllm_config: VllmConfig, prefix: str = "", layer_type: Any = LlamaDecoderLayer) -> Any:
        """The model without its head; files override this."""
        return LlamaModel(vllm_config=vllm_config, prefix=prefix, layer_type=layer_type)
