"""Tiny models whose vectors have a weight for each token: SPLADE as sentence-transformers writes it, and BGE-M3."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from tiny_encoders import MAX_LEN, SIZES, VOCAB_SIZE
from tiny_poolers import write_model
from torch import nn

BERT = {"max_position_embeddings": MAX_LEN}
KINDS = {
    "Bert": BERT, "Roberta": {"max_position_embeddings": MAX_LEN + 2, "pad_token_id": 1},
    "MPNet": {"max_position_embeddings": MAX_LEN + 2},
    "DistilBert": {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96, "max_position_embeddings": MAX_LEN},
    "ModernBert": {"max_position_embeddings": MAX_LEN, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
                   "cls_token_id": None, "sep_token_id": None, "layer_types": None},
}


def write_splade(path: Path, kind: str = "Bert", *, strategy: str = "max", function: str = "relu", tied: bool = True):
    """A masked language model with the files of sentence-transformers; Transformers' model."""
    torch.manual_seed(7)
    sizes = {"vocab_size": VOCAB_SIZE} if kind == "DistilBert" else SIZES
    given = {name: value for name, value in (sizes | KINDS[kind]).items() if value is not None}
    config = getattr(transformers, f"{kind}Config")(**given, tie_word_embeddings=tied)
    model = getattr(transformers, f"{kind}ForMaskedLM")(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    model.save_pretrained(path)
    stem = "sentence_transformers.sparse_encoder.models."
    modules = [{"idx": 0, "path": "", "type": f"{stem}MLMTransformer"},
               {"idx": 1, "path": "1_SpladePooling", "type": f"{stem}SpladePooling"}]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_SpladePooling").mkdir()
    (path / "1_SpladePooling" / "config.json").write_text(json.dumps(
        {"pooling_strategy": strategy, "activation_function": function, "word_embedding_dimension": VOCAB_SIZE}))
    return model


def write_m3(path: Path) -> tuple[nn.Module, dict[str, nn.Linear]]:
    """(Transformers' body, the layers of the tokens, which lie in files of their own)."""
    model = write_model(path, "XLMRobertaModel", max_position_embeddings=MAX_LEN + 2, pad_token_id=1, bos_token_id=0,
                        eos_token_id=2)
    layers = {"colbert_linear": nn.Linear(64, 64), "sparse_linear": nn.Linear(64, 1)}
    for name, layer in layers.items():
        torch.save(layer.state_dict(), path / f"{name}.pt")
    return model, layers
