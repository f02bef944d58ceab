"""An encoder of one layer as files of vLLM write it: attention of an encoder only, pooled at the first token."""

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.attention.encoder_only_attention import EncoderOnlyAttention
from vllm.model_executor.layers.linear import QKVParallelLinear, RowParallelLinear
from vllm.model_executor.layers.pooler import CLSPool, DispatchPooler, pooler_for_classify
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.models.interfaces_base import attn_type, default_pooling_type
from vllm.model_executor.models.utils import AutoWeightsLoader


@attn_type("encoder_only")
@default_pooling_type(seq_pooling_type="CLS")
class TinyEncoder(nn.Module):
    is_pooling_model = True

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.embed = VocabParallelEmbedding(config.vocab_size, config.hidden_size)
        self.types = nn.Embedding(config.type_vocab_size, config.hidden_size)
        size = config.hidden_size // config.num_attention_heads
        self.qkv = QKVParallelLinear(config.hidden_size, size, config.num_attention_heads, bias=False, prefix="qkv")
        self.attn = EncoderOnlyAttention(config.num_attention_heads, size, size**-0.5, prefix="attn")
        self.out = RowParallelLinear(config.hidden_size, config.hidden_size, bias=False, prefix="out")
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.pooler = DispatchPooler({"classify": pooler_for_classify(
            vllm_config.model_config.pooler_config, pooling=CLSPool(), classifier=self.classifier)})

    def embed_input_ids(self, input_ids):
        return self.embed(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None, token_type_ids=None):
        x = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        x = x + self.types(torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids)
        q, k, v = self.qkv(x)[0].chunk(3, dim=-1)
        return x + self.out(self.attn(q, k, v))[0]

    def load_weights(self, weights):
        return AutoWeightsLoader(self).load_weights(weights)
