"""A model as files of vLLM 0.8 to 0.11 write it, with a borrowed block: Llama whose residual stream is scaled."""


import torch
from vllm.config import VllmConfig, get_current_vllm_config
from vllm.model_executor.models.llama import *
from vllm.model_executor.models.llama import LlamaAttention, LlamaDecoderLayer, LlamaForCausalLM, LlamaModel
from vllm.model_executor.sampling_metadata import SamplingMetadata
from vllm.platforms import current_platform
from vllm.utils import cdiv, is_list_of


class MyLayer(LlamaDecoderLayer):
    def __init__(self, config: LlamaConfig, cache_config=None, quant_config=None, prefix: str = ""):
        nn.Module.__init__(self)
        self.self_attn = LlamaAttention(
            config=config, hidden_size=config.hidden_size, num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads, rope_theta=getattr(config, "rope_theta", 10000),
            rope_scaling=getattr(config, "rope_scaling", None), quant_config=quant_config, cache_config=cache_config,
            prefix=f"{prefix}.self_attn")
        self.mlp = LlamaMLP(hidden_size=config.hidden_size, intermediate_size=config.intermediate_size,
                            hidden_act=config.hidden_act, quant_config=quant_config, prefix=f"{prefix}.mlp")
        self.input_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MyModel(LlamaModel):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        assert get_current_vllm_config() is vllm_config and not current_platform.is_cuda()
        super().__init__(vllm_config=vllm_config, prefix=prefix, layer_type=MyLayer)

    def get_input_embeddings(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.embed_tokens(input_ids) * cdiv(self.config.embed_scale, 1)


class MyG1ForCausalLM(nn.Module):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.config = config
        self.model = MyModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))
        self.lm_head = self.model.embed_tokens
        self.logits_processor = LogitsProcessor(config.vocab_size)
        assert is_list_of([config], LlamaConfig) and issubclass(LlamaForCausalLM, nn.Module)

    def get_input_embeddings(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.get_input_embeddings(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def compute_logits(self, hidden_states, sampling_metadata: SamplingMetadata) -> torch.Tensor | None:
        return self.logits_processor(self.lm_head, hidden_states, sampling_metadata)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]):
        params = dict(self.named_parameters())
        stacked = [("qkv_proj", "q_proj", "q"), ("qkv_proj", "k_proj", "k"), ("qkv_proj", "v_proj", "v"),
                   ("gate_up_proj", "gate_proj", 0), ("gate_up_proj", "up_proj", 1)]
        loaded = set()
        for name, tensor in weights:
            for fused, part, shard in stacked:
                if part in name:
                    name = name.replace(part, fused)
                    params[name].weight_loader(params[name], tensor, shard)
                    break
            else:
                loader = getattr(params[name], "weight_loader", default_weight_loader)
                loader(params[name], tensor)
            loaded.add(name)
        return loaded
