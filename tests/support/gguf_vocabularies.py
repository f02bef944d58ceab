"""GGUF files that hold a tokenizer and no tensors, as the converter writes it of a tokenizer of transformers."""

from __future__ import annotations

import json

import gguf
from gguf_models import add

CONTROL, USER_DEFINED, NORMAL, UNKNOWN, BYTE = (
    gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED, gguf.TokenType.NORMAL, gguf.TokenType.UNKNOWN,
    gguf.TokenType.BYTE)


def write(path, **metadata):
    """A GGUF file with tokenizer keys and no tensors; dots of keys are written as __."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if value is not None:
            add(writer, "tokenizer." + key.replace("__", "."), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def entries(hf) -> dict:
    """Tokens, types and merges of a transformers tokenizer, as the converter writes them."""
    model = json.loads(hf.backend_tokenizer.to_str())["model"]
    added, special = hf.added_tokens_decoder, set(hf.all_special_tokens)
    by_id = {i: token for token, i in hf.get_vocab().items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(max(by_id) + 1)]

    def kind(i: int, token: str) -> int:
        if i not in by_id:
            return gguf.TokenType.UNUSED
        if token == "<unk>":
            return UNKNOWN
        if i in added or token in special:
            return CONTROL if token in special or added[i].special else USER_DEFINED
        return BYTE if token.startswith("<0x") else NORMAL

    return {"ggml__tokens": tokens, "ggml__token_type": [int(kind(i, token)) for i, token in enumerate(tokens)],
            "ggml__merges": [" ".join(merge) for merge in model["merges"]]}


def ids_of(hf) -> dict:
    names = {"bos": hf.bos_token_id, "eos": hf.eos_token_id, "unknown": hf.unk_token_id, "padding": hf.pad_token_id}
    return {f"ggml__{name}_token_id": number for name, number in names.items()}


def scores_of(hf) -> list[float]:
    """As SentencePiece has them: a token made by an earlier merge has a higher score."""
    made = {"".join(merge): -float(rank) for rank, merge in reversed(list(enumerate(
        json.loads(hf.backend_tokenizer.to_str())["model"]["merges"])))}
    return [made.get(token, -1e6) for token in entries(hf)["ggml__tokens"]]
