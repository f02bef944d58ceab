"""Pooling models as files of vLLM write them: Llama's body with poolers from vLLM, and with one of its own."""

from collections.abc import Iterable

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.pooler import DispatchPooler, IdentityPooler, Pooler, pooler_for_token_embed
from vllm.model_executor.models.interfaces import SupportsCrossEncoding
from vllm.model_executor.models.interfaces_base import VllmModelForPooling, default_pooling_type
from vllm.model_executor.models.llama import LlamaModel
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, maybe_prefix


class Body(nn.Module):
    is_pooling_model = True
    hf_to_vllm_mapper = WeightsMapper(orig_to_new_prefix={"layers.": "model.layers.", "norm.": "model.norm.",
                                                          "embed_tokens.": "model.embed_tokens."})

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        self.model = LlamaModel(vllm_config=vllm_config, prefix=maybe_prefix(prefix, "model"))

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.embed_input_ids(input_ids)

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)


@default_pooling_type(seq_pooling_type="MEAN")
class LlamaEmbedder(Body, VllmModelForPooling):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        pooler_config = vllm_config.model_config.pooler_config
        assert pooler_config is not None
        self.pooler = DispatchPooler.for_embedding(pooler_config)


class LlamaColBERT(Body):
    score_type = "late-interaction"

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        projector = nn.Linear(vllm_config.model_config.hf_config.hidden_size, 8, bias=False)
        nn.init.eye_(projector.weight)
        self.__dict__["projector"] = projector      # not of the checkpoint
        self.pooler = DispatchPooler({"token_embed": pooler_for_token_embed(vllm_config.model_config.pooler_config,
                                                                            projector=projector)})


class LlamaReranker(Body, SupportsCrossEncoding):
    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        config = vllm_config.model_config.hf_config
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.pooler = DispatchPooler.for_seq_cls(vllm_config.model_config.pooler_config, classifier=self.score)


class FirstAndLast(Pooler):
    """A pooler of the file's own."""

    def get_supported_tasks(self):
        return {"embed"}

    def forward(self, hidden_states, pooling_metadata):
        cursor = pooling_metadata.get_pooling_cursor()
        return torch.cat([hidden_states[cursor.first_token_indices_gpu], hidden_states[cursor.last_token_indices_gpu]],
                         dim=-1)


class LlamaOwn(Body):
    pooler = FirstAndLast()


class LlamaPlugin(Body):
    pooler = IdentityPooler()
