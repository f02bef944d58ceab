"""A Llama as files of vLLM before 0.7 write it: caches and metadata are arguments, and the model samples."""

from collections.abc import Iterable

import torch
from torch import nn
from vllm.attention import Attention, AttentionMetadata
from vllm.config import CacheConfig, LoRAConfig
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.layers.sampler import Sampler, SamplerOutput
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.sampling_metadata import SamplingMetadata
from vllm.sequence import IntermediateTensors


class Layer(nn.Module):
    def __init__(self, config, cache_config: CacheConfig | None, quant_config: QuantizationConfig | None):
        super().__init__()
        heads, kv_heads, size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.sizes = [heads * size, kv_heads * size, kv_heads * size]
        self.qkv_proj = QKVParallelLinear(config.hidden_size, size, heads, kv_heads, bias=False,
                                          quant_config=quant_config)
        self.o_proj = RowParallelLinear(heads * size, config.hidden_size, bias=False, quant_config=quant_config)
        self.rotary_emb = get_rope(size, rotary_dim=size, max_position=config.max_position_embeddings,
                                   base=getattr(config, "rope_theta", 10000),
                                   rope_scaling=getattr(config, "rope_scaling", None))
        self.attn = Attention(heads, size, size ** -0.5, num_kv_heads=kv_heads, cache_config=cache_config,
                              quant_config=quant_config)
        self.gate_up_proj = MergedColumnParallelLinear(config.hidden_size, [config.intermediate_size] * 2, bias=False,
                                                       quant_config=quant_config)
        self.down_proj = RowParallelLinear(config.intermediate_size, config.hidden_size, bias=False,
                                           quant_config=quant_config)
        self.act_fn = SiluAndMul()
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, positions, x, kv_cache: torch.Tensor, attn_metadata: AttentionMetadata, residual):
        if residual is None:
            residual, x = x, self.input_layernorm(x)
        else:
            x, residual = self.input_layernorm(x, residual)
        qkv, _ = self.qkv_proj(x)
        q, k, v = qkv.split(self.sizes, dim=-1)
        q, k = self.rotary_emb(positions, q, k)
        x, _ = self.o_proj(self.attn(q, k, v, kv_cache, attn_metadata))
        x, residual = self.post_attention_layernorm(x, residual)
        x, _ = self.gate_up_proj(x)
        x, _ = self.down_proj(self.act_fn(x))
        return x, residual


class MyG0ForCausalLM(nn.Module):
    supported_lora_modules = ["qkv_proj", "o_proj"]

    def __init__(self, config, cache_config: CacheConfig | None = None,
                 quant_config: QuantizationConfig | None = None, lora_config: LoRAConfig | None = None):
        super().__init__()
        self.config = config
        lora_vocab = lora_config.lora_extra_vocab_size if lora_config else 0
        self.embed_tokens = VocabParallelEmbedding(config.vocab_size + lora_vocab, config.hidden_size,
                                                   org_num_embeddings=config.vocab_size)
        self.layers = nn.ModuleList([Layer(config, cache_config, quant_config)
                                     for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.lm_head = ParallelLMHead(config.vocab_size, config.hidden_size, quant_config=quant_config)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.embed_tokens.weight
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.sampler = Sampler()

    def forward(self, input_ids: torch.Tensor, positions: torch.Tensor, kv_caches: list[torch.Tensor],
                attn_metadata: AttentionMetadata, intermediate_tensors: IntermediateTensors | None = None):
        assert attn_metadata.num_prefill_tokens + attn_metadata.num_decode_tokens == len(positions)
        x, residual = self.embed_tokens(input_ids), None
        for i, layer in enumerate(self.layers):
            x, residual = layer(positions, x, kv_caches[i], attn_metadata, residual)
        x, _ = self.norm(x, residual)
        return x

    def compute_logits(self, hidden_states: torch.Tensor, sampling_metadata: SamplingMetadata) -> torch.Tensor:
        return self.logits_processor(self.lm_head, hidden_states, sampling_metadata)

    def sample(self, logits: torch.Tensor, sampling_metadata: SamplingMetadata) -> SamplerOutput | None:
        return self.sampler(logits, sampling_metadata)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]):
        stacked = [("qkv_proj", "q_proj", "q"), ("qkv_proj", "k_proj", "k"), ("qkv_proj", "v_proj", "v"),
                   ("gate_up_proj", "gate_proj", 0), ("gate_up_proj", "up_proj", 1)]
        params = dict(self.named_parameters(remove_duplicate=False))
        for name, tensor in weights:
            name = name.replace("model.", "").replace("self_attn.", "").replace("mlp.", "")
            for fused, part, shard in stacked:
                if part not in name:
                    continue
                param = params[name.replace(part, fused)]
                param.weight_loader(param, tensor, shard)
                break
            else:
                param = params[name]
                getattr(param, "weight_loader", default_weight_loader)(param, tensor)
