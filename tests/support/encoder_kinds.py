"""Tiny encoders of every family that weft describes, with random weights, as Transformers writes them.

A kind is a variant of a family; its class is Transformers' name of the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

VOCAB_SIZE = 320
BERT = {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 130}
T5 = {"vocab_size": VOCAB_SIZE, "d_model": 64, "d_kv": 8, "num_layers": 3, "num_heads": 4, "d_ff": 96,
      "num_decoder_layers": 1, "relative_attention_max_distance": 40}
DEBERTA = BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
LOCAL = {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}


@dataclass(frozen=True)
class Kind:
    """cls: Transformers' class. values: of its config."""

    cls: str
    values: Mapping[str, Any] = field(default_factory=lambda: BERT)


KINDS: dict[str, Kind] = {
    "ernie": Kind("ErnieModel"),
    "xlm-roberta": Kind("XLMRobertaModel", BERT | {"pad_token_id": 1}),
    "camembert": Kind("CamembertModel", BERT | {"pad_token_id": 1}),
    "data2vec": Kind("Data2VecTextModel", BERT | {"pad_token_id": 1}),
    "roberta-pre-norm": Kind("RobertaPreLayerNormModel", BERT | {"pad_token_id": 1}),
    "xlm-roberta-xl": Kind("XLMRobertaXLModel", BERT | {"pad_token_id": 1}),
    "megatron": Kind("MegatronBertModel"),
    "electra-narrow": Kind("ElectraModel", BERT | {"embedding_size": 32}),
    "electra": Kind("ElectraModel", BERT | {"embedding_size": 64}),
    "rembert": Kind("RemBertModel", BERT | {"input_embedding_size": 32}),
    "albert": Kind("AlbertModel", BERT | {"embedding_size": 32}),
    "albert-groups": Kind("AlbertModel", BERT | {"embedding_size": 64, "num_hidden_layers": 4, "num_hidden_groups": 2,
                                                 "inner_group_num": 2}),
    "distilbert": Kind("DistilBertModel", {"vocab_size": VOCAB_SIZE, "dim": 64, "n_layers": 3, "n_heads": 4,
                                           "hidden_dim": 96, "max_position_embeddings": 130}),
    "mpnet": Kind("MPNetModel", BERT | {"pad_token_id": 1}),
    "roformer": Kind("RoFormerModel", BERT | {"embedding_size": 32}),
    "deberta-v3": Kind("DebertaV2Model", DEBERTA | {
        "share_att_key": True, "position_buckets": 16, "max_relative_positions": -1, "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0}),
    "deberta-v2": Kind("DebertaV2Model", DEBERTA | {"max_relative_positions": 24, "type_vocab_size": 2}),
    "deberta-c2p": Kind("DebertaV2Model", DEBERTA | {"pos_att_type": ["c2p"], "position_biased_input": True}),
    "deberta-plain": Kind("DebertaV2Model", BERT),
    "deberta-v1": Kind("DebertaModel", DEBERTA | {"type_vocab_size": 2}),
    "deberta-v1-c2p": Kind("DebertaModel", DEBERTA | {
        "pos_att_type": ["c2p"], "max_relative_positions": 24, "position_biased_input": True}),
    "modernbert": Kind("ModernBertModel", BERT | LOCAL | {"local_attention": 16, "pad_token_id": 0}),
    "modernbert-biases": Kind("ModernBertModel", BERT | {
        "pad_token_id": 0, "norm_bias": True, "mlp_bias": True, "attention_bias": True, "local_attention": 6}),
    "nomic": Kind("NomicBertModel"),
    "jina-v3": Kind("JinaEmbeddingsV3Model", BERT | {"pad_token_id": 1}),
    "gte": Kind("GteModel", BERT | {"pad_token_id": 0}),
    "gte-no-types": Kind("GteModel", BERT | {"pad_token_id": 0, "type_vocab_size": 0}),
    "eurobert": Kind("EuroBertModel", BERT | {"pad_token_id": 0, "num_key_value_heads": 2}),
    "ultrabert": Kind("UltrabertModel", BERT | {"pad_token_id": 0, "num_key_value_heads": 2, "sliding_window": 7}),
    "t5": Kind("T5EncoderModel", T5),
    "flan-t5": Kind("T5EncoderModel", T5 | {"feed_forward_proj": "gated-gelu"}),
    "mt5": Kind("MT5EncoderModel", T5),
    "umt5": Kind("UMT5EncoderModel", T5),
    "clip": Kind("CLIPTextModel"),
}
ARCHITECTURE_OF = {name: kind.cls for name, kind in KINDS.items()}
ARCHITECTURES = set(ARCHITECTURE_OF.values())


def write_kind(directory: Path, name: str) -> nn.Module:
    """Write the checkpoint of a kind into a directory; the Transformers model that it is from."""
    return write_model(directory, KINDS[name].cls, KINDS[name].values)


def write_model(directory: Path, cls: str, values: Mapping[str, Any]) -> nn.Module:
    """Write a checkpoint of a class of Transformers, all of whose numbers are random."""
    model_class = getattr(transformers, cls)
    model = model_class(model_class.config_class(**values)).float().eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in filter(lambda p: p.requires_grad, model.parameters()):      # all but RoFormer's fixed table
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.1)
    model.save_pretrained(directory)
    return model
