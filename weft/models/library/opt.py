"""OPT as a programmed model, with the classes and attribute names of vLLM's module of this name.

Source: arXiv:2205.01068, and the config and tensor names of facebook/opt-125m and opt-350m.
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
    ReplicatedLinear,
    RowParallelLinear,
    VocabParallelEmbedding,
    WeightsMapper,
    get_act_fn,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.models.library.ends import HeadedModel
from weft.models.vllm.layers import Attention
from weft.parallel import get_pp_group, get_tensor_model_parallel_world_size

_STACKED = {f".{name}_proj.": (".qkv_proj.", name) for name in "qkv"}
_OFFSET = 2                        # position 0 is row 2 of the table


class OPTLearnedPositionalEmbedding(nn.Embedding):
    """A row for each position, found two rows further down."""

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.offset = _OFFSET
        super().__init__(num_embeddings + self.offset, embedding_dim)

    def forward(self, input: Tensor) -> Tensor:
        """input [T]: positions. [T, E]."""
        return super().forward(input + self.offset)


class OPTAttention(nn.Module):
    """Causal attention. forward: [T, E] -> [T, E]."""

    def __init__(self, embed_dim: int, num_heads: int, bias: bool = True, cache_config: Any = None,
                 quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.num_heads = num_heads // get_tensor_model_parallel_world_size()
        self.head_dim = embed_dim // num_heads
        self.scaling = self.head_dim ** -0.5
        self.qkv_proj = QKVParallelLinear(embed_dim, self.head_dim, num_heads, bias=bias, quant_config=quant_config,
                                          prefix=f"{prefix}.qkv_proj")
        self.out_proj = RowParallelLinear(embed_dim, embed_dim, bias=bias, quant_config=quant_config,
                                          prefix=f"{prefix}.out_proj")
        self.attn = Attention(self.num_heads, self.head_dim, scale=self.scaling, cache_config=cache_config,
                              quant_config=quant_config, prefix=f"{prefix}.attn")

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        qkv, _ = self.qkv_proj(hidden_states)
        q, k, v = qkv.chunk(chunks=3, dim=-1)
        out, _ = self.out_proj(self.attn(q, k, v))
        return out


class OPTDecoderLayer(nn.Module):
    """A layer, with its norms before or after its two parts. forward: [T, E] -> [T, E]."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.config, self.embed_dim = config, config.hidden_size
        affine = config.layer_norm_elementwise_affine
        self.self_attn = OPTAttention(self.embed_dim, config.num_attention_heads, config.enable_bias, cache_config,
                                      quant_config, prefix=f"{prefix}.self_attn")
        self.do_layer_norm_before = config.do_layer_norm_before
        self.self_attn_layer_norm = nn.LayerNorm(self.embed_dim, elementwise_affine=affine)
        self.fc1 = ColumnParallelLinear(self.embed_dim, config.ffn_dim, bias=config.enable_bias,
                                        quant_config=quant_config, prefix=f"{prefix}.fc1")
        self.activation_fn = get_act_fn(config.activation_function)
        self.fc2 = RowParallelLinear(config.ffn_dim, self.embed_dim, bias=config.enable_bias,
                                     quant_config=quant_config, prefix=f"{prefix}.fc2")
        self.final_layer_norm = nn.LayerNorm(self.embed_dim, elementwise_affine=affine)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[T, E] -> [T, E]."""
        before = self.do_layer_norm_before
        attended = self.self_attn(self.self_attn_layer_norm(hidden_states) if before else hidden_states)
        hidden_states = hidden_states + attended
        if not before:
            hidden_states = self.self_attn_layer_norm(hidden_states)
        fed, _ = self.fc1(self.final_layer_norm(hidden_states) if before else hidden_states)
        fed, _ = self.fc2(self.activation_fn(fed))
        hidden_states = hidden_states + fed
        return hidden_states if before else self.final_layer_norm(hidden_states)


class OPTDecoder(nn.Module):
    """Embeddings with projections where their width differs, layers, final norm."""

    def __init__(self, config: Any, cache_config: Any = None, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size, config.word_embed_proj_dim)
        self.embed_positions = OPTLearnedPositionalEmbedding(config.max_position_embeddings, config.hidden_size)
        self.project_in: ReplicatedLinear | None = None
        self.project_out: ReplicatedLinear | None = None
        if config.word_embed_proj_dim != config.hidden_size:
            self.project_in = ReplicatedLinear(config.word_embed_proj_dim, config.hidden_size, bias=False,
                                               quant_config=quant_config, prefix=f"{prefix}.project_in")
            self.project_out = ReplicatedLinear(config.hidden_size, config.word_embed_proj_dim, bias=False,
                                                quant_config=quant_config, prefix=f"{prefix}.project_out")
        self.final_layer_norm: nn.LayerNorm | None = None
        if config.do_layer_norm_before and not getattr(config, "_remove_final_layer_norm", False):
            self.final_layer_norm = nn.LayerNorm(config.hidden_size,
                                                 elementwise_affine=config.layer_norm_elementwise_affine)
        self.start_layer, self.end_layer, self.layers = make_layers(
            config.num_hidden_layers, lambda prefix: OPTDecoderLayer(config, cache_config, quant_config, prefix),
            prefix=f"{prefix}.layers")

    def get_input_embeddings(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, word_embed_proj_dim], without positions."""
        return self.embed_tokens(input_ids)

    embed_input_ids = get_input_embeddings

    def forward(self, input_ids: Tensor | None, positions: Tensor,
                intermediate_tensors: IntermediateTensors | None = None,
                inputs_embeds: Tensor | None = None) -> Tensor | IntermediateTensors:
        """[T, word_embed_proj_dim], or what the next stage of a pipeline takes."""
        if get_pp_group().is_first_rank:
            if inputs_embeds is None:
                assert input_ids is not None, "a model is given token ids or embeddings"
                inputs_embeds = self.embed_input_ids(input_ids)
            if self.project_in is not None:
                inputs_embeds, _ = self.project_in(inputs_embeds)
            hidden_states = inputs_embeds + self.embed_positions(positions)
        else:
            assert intermediate_tensors is not None, "a later stage is given what the stage before made"
            hidden_states = intermediate_tensors["hidden_states"]
        for layer in self.layers[self.start_layer:self.end_layer]:
            hidden_states = layer(hidden_states)
        if not get_pp_group().is_last_rank:
            return IntermediateTensors({"hidden_states": hidden_states})
        if self.final_layer_norm is not None:
            hidden_states = self.final_layer_norm(hidden_states)
        if self.project_out is not None:
            hidden_states, _ = self.project_out(hidden_states)
        return hidden_states


class OPTModel(nn.Module):
    """A decoder without a head."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        self.decoder = OPTDecoder(config, vllm_config.cache_config, vllm_config.quant_config,
                                  prefix=f"{prefix}.decoder")
        self.make_empty_intermediate_tensors = make_empty_intermediate_tensors_factory(
            ["hidden_states"], config.hidden_size)

    def get_input_embeddings(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, word_embed_proj_dim]. The older name, which subclasses may override too."""
        return self.decoder.embed_input_ids(input_ids)

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[T] -> [T, word_embed_proj_dim]."""
        return self.get_input_embeddings(input_ids)

    def forward(self, input_ids: Tensor | None, positions: Tensor,
                intermediate_tensors: IntermediateTensors | None = None,
                inputs_embeds: Tensor | None = None) -> Tensor | IntermediateTensors:
        """As OPTDecoder."""
        return self.decoder(input_ids, positions, intermediate_tensors, inputs_embeds)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader, with q, k and v as parts of one matrix."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=WeightsMapper(orig_to_new_stacked=_STACKED))


class OPTForCausalLM(HeadedModel):
    """OPT with its head, which shares the embedding's table unless the config says otherwise."""

    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}        # noqa: RUF012
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"decoder.": "model.decoder."})

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config, self.quant_config = config, vllm_config.quant_config
        self.model = OPTModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        if config.tie_word_embeddings:
            self.lm_head = self.model.decoder.embed_tokens
        else:
            self.lm_head = ParallelLMHead(config.vocab_size, config.word_embed_proj_dim,
                                          prefix=maybe_prefix(prefix, "lm_head"))
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As AutoWeightsLoader; a tied head's tensor is left out."""
        skipped = ["lm_head.weight"] if self.config.tie_word_embeddings else None
        return AutoWeightsLoader(self, skip_prefixes=skipped).load_weights(weights, mapper=self.hf_to_vllm_mapper)
