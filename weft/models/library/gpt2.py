"""GPT-2 as a programmed model, with the classes and attribute names of vLLM's module of this name.

Source: Radford et al. 2019, and the config and tensor names of openai-community/gpt2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from weft.layers.public import (
    AutoWeightsLoader,
    ColumnParallelLinear,
    IntermediateTensors,
    LogitsProcessor,
    ParallelLMHead,
    QKVParallelLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    extract_layer_index,
    get_act_fn,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.models.library.ends import HeadedModel
from weft.models.vllm.layers import Attention
from weft.parallel import get_pp_group, get_tensor_model_parallel_world_size

_STORED_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")      # checkpoints have them as [in, out]


class GPT2Attention(nn.Module):
    """Causal attention with biases. forward: [T, E] -> [T, E]."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.hidden_size, total_heads = config.hidden_size, config.num_attention_heads
        self.num_heads = total_heads // get_tensor_model_parallel_world_size()
        self.head_dim = self.hidden_size // total_heads
        self.scale = self.head_dim ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= extract_layer_index(prefix) + 1
        self.c_attn = QKVParallelLinear(self.hidden_size, self.head_dim, total_heads, bias=True,
                                        quant_config=quant_config, prefix=f"{prefix}.c_attn")
        self.c_proj = RowParallelLinear(self.hidden_size, self.hidden_size, bias=True, quant_config=quant_config,
                                        prefix=f"{prefix}.c_proj")
        self.attn = Attention(self.num_heads, self.head_dim, scale=self.scale, cache_config=cache_config,
                              quant_config=quant_config, prefix=f"{prefix}.attn")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        qkv, _ = self.c_attn(hidden_states)
        q, k, v = qkv.chunk(chunks=3, dim=-1)
        out, _ = self.c_proj(self.attn(q, k, v))
        return out


class GPT2MLP(nn.Module):
    """Two products around an activation. forward: [T, E] -> [T, E]."""

    def __init__(self, intermediate_size: int, config: Any, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.c_fc = ColumnParallelLinear(config.hidden_size, intermediate_size, bias=True, quant_config=quant_config,
                                         prefix=f"{prefix}.c_fc")
        self.c_proj = RowParallelLinear(intermediate_size, config.hidden_size, bias=True, quant_config=quant_config,
                                        prefix=f"{prefix}.c_proj")
        self.act = get_act_fn(config.activation_function)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        hidden_states, _ = self.c_fc(hidden_states)
        out, _ = self.c_proj(self.act(hidden_states))
        return out


class GPT2Block(nn.Module):
    """A layer: attention, then the MLP, each behind its norm. forward: [T, E] -> [T, E]."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        inner = config.n_inner if getattr(config, "n_inner", None) is not None else 4 * config.hidden_size
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = GPT2Attention(config, cache_config, quant_config, prefix=f"{prefix}.attn")
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = GPT2MLP(inner, config, quant_config, prefix=f"{prefix}.mlp")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        hidden_states = hidden_states + self.attn(self.ln_1(hidden_states))
        return hidden_states + self.mlp(self.ln_2(hidden_states))


class GPT2Model(nn.Module):
    """Embeddings, layers and final norm."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.embed_dim = config, config.hidden_size
        self.wte = VocabParallelEmbedding(config.vocab_size, self.embed_dim, quant_config=vllm_config.quant_config,
                                          prefix=f"{prefix}.wte")
        self.wpe = nn.Embedding(config.max_position_embeddings, self.embed_dim)
        self.start_layer, self.end_layer, self.h = make_layers(
            config.num_hidden_layers,
            lambda prefix: GPT2Block(config, vllm_config.cache_config, vllm_config.quant_config, prefix=prefix),
            prefix=f"{prefix}.h")
        self.ln_f = nn.LayerNorm(self.embed_dim, eps=config.layer_norm_epsilon)
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states"], config.n_embd)

    def get_input_embeddings(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E], without positions. The older name, which subclasses may override too."""
        return self.wte(input_ids)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, E], without positions."""
        return self.get_input_embeddings(input_ids)

    def forward(self, input_ids: Tensor | None, position_ids: Tensor,
                intermediate_tensors: IntermediateTensors | None = None,
                inputs_embeds: Tensor | None = None) -> Tensor | IntermediateTensors:
        """[T, E], or what the next stage of a pipeline takes."""
        if get_pp_group().is_first_rank:
            if inputs_embeds is None:
                assert input_ids is not None, "a model is given token ids or embeddings"
                inputs_embeds = self.embed_input_ids(input_ids)
            hidden_states = inputs_embeds + self.wpe(position_ids)
        else:
            assert intermediate_tensors is not None, "a later stage is given what the stage before made"
            hidden_states = intermediate_tensors["hidden_states"]
        for layer in self.h[self.start_layer:self.end_layer]:
            hidden_states = layer(hidden_states)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": hidden_states})
        return self.ln_f(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader, with transposed matrices turned and masks of the checkpoint left out."""
        return AutoWeightsLoader(self).load_weights(_turned(weights))


class GPT2LMHeadModel(HeadedModel):
    """GPT-2 with its head, which shares the embedding's table unless the config says otherwise."""

    below_head = "transformer"

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.quant_config = config, vllm_config.quant_config
        self.transformer = GPT2Model(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "transformer"))
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=self.quant_config,
                                      prefix=maybe_prefix(prefix, "lm_head"))
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.transformer.wte)
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.make_empty_intermediate_tensors = self.transformer.make_empty_intermediate_tensors

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader; files have names with and without "transformer."."""
        renamed = ((name if name.startswith(("lm_head.", "transformer.")) else f"transformer.{name}", tensor)
                   for name, tensor in weights)
        return super().load_weights(renamed)


def _turned(weights: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
    for name, tensor in weights:
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue                                          # constants of the causal mask
        yield name, tensor.t() if name.endswith(_STORED_TRANSPOSED) else tensor
