"""Tiny encoders with random weights, as Transformers writes them and as older checkpoints have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

VOCAB_SIZE = 320
MAX_LEN = 128
SIZES = {"vocab_size": VOCAB_SIZE, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 96}
KINDS: dict[str, Callable[[], nn.Module]] = {
    "bert": lambda: _model("Bert", max_position_embeddings=MAX_LEN, type_vocab_size=2),
    "bert-relu": lambda: _model("Bert", max_position_embeddings=MAX_LEN, hidden_act="relu", layer_norm_eps=1e-5),
    "roberta": lambda: _model("Roberta", max_position_embeddings=MAX_LEN + 2, type_vocab_size=1, pad_token_id=1),
    "roberta-padding-3": lambda: _model("Roberta", max_position_embeddings=MAX_LEN + 4, pad_token_id=3),
}

ARCHITECTURE_OF = {"bert": "BertModel", "bert-relu": "BertModel", "roberta": "RobertaModel",
                   "roberta-padding-3": "RobertaModel"}
ARCHITECTURES = set(ARCHITECTURE_OF.values())


def write_encoder(directory: Path, kind: str = "bert") -> nn.Module:
    """Write a checkpoint into a directory; the Transformers model that it is from."""
    model = KINDS[kind]()
    model.save_pretrained(directory)
    return model


def rename_tensors(directory: Path, renamed: Callable[[str], str]) -> None:
    """Give the tensors of a checkpoint other names."""
    file = directory / "model.safetensors"
    save_file({renamed(name): tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def write_sentence_files(directory: Path, *, mode: str | None = "mean_tokens", normalize: bool = True,
                         modules: tuple[str, ...] = (), max_seq_length: int | None = None) -> None:
    """The files of sentence-transformers beside a checkpoint. mode: the flag that is true; modules: further ones."""
    kinds = ["Transformer", "Pooling", *modules, *(["Normalize"] if normalize else [])]
    listed = [{"idx": i, "name": str(i), "path": "1_Pooling" if kind == "Pooling" else f"{i}_{kind}" if i else "",
               "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)]
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    flags = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 64} | flags))
    if max_seq_length is not None:
        (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_seq_length}))


def token_states(model: nn.Module, token_ids: list[int]) -> Tensor:
    """[T, E], what Transformers gives."""
    with torch.inference_mode():
        return model(torch.tensor([token_ids])).last_hidden_state[0]


def prompts(*lengths: int) -> list[list[int]]:
    """Token ids without padding tokens, which Transformers gives other positions."""
    random = torch.Generator().manual_seed(3)
    return [torch.randint(4, VOCAB_SIZE, (length,), generator=random).tolist() for length in lengths]


def _model(name: str, **values: object) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**(SIZES | values))
    model = getattr(transformers, f"{name}Model")(config).float().eval()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():      # biases and norms too, so that a lost one shows
            parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.1)
    return model
