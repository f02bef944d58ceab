"""Tiny tokenizers in the two formats that mistral-common reads, written to a directory."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import sentencepiece

SPECIAL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
           "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]", "[THINK]",
           "[/THINK]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]")
NUM_FILLED = 32      # special ids, those without a name included
# Each can be made of two that stand before it.
MERGED = ("he", "ll", "lo", "hello", " w", "or", " wor", "ld", " world", "th", " th", " the", "in", "ing", "é", "Hi",
          "\n\n", "ab")
PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LINES = ["The quick brown fox jumps over the lazy dog, and the dog does not mind.",
         "Hello world! How are you? I'm fine, it's what we've said.", "two words, one  gap"] * 20


def write_tekken(directory: Path, version: str = "v11", **more: Any) -> Path:
    """A tekken.json of 306 ids: 32 special ones, the bytes, and a few words. more: keys besides."""
    directory.mkdir(parents=True, exist_ok=True)
    words = [bytes([i]) for i in range(256)] + [word.encode() for word in MERGED]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
             for i, word in enumerate(words)]
    special = [{"rank": i, "token_str": token, "is_control": True} for i, token in enumerate(SPECIAL)]
    config = {"pattern": PATTERN, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + NUM_FILLED,
              "default_num_special_tokens": NUM_FILLED, "version": version}
    path = directory / "tekken.json"
    path.write_text(json.dumps({"config": config, "vocab": vocab, "special_tokens": special, "version": 1,
                                "type": "Tekken"} | more))
    return path


def write_sentencepiece(directory: Path, version: str = "v3") -> Path:
    """A tokenizer.model.v3 (or of another version) trained on a few lines, with a token for each byte."""
    directory.mkdir(parents=True, exist_ok=True)
    prefix = directory / "trained"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(prefix), vocab_size=420, model_type="bpe", byte_fallback=True,
        control_symbols=list(SPECIAL[3:10]), unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False)
    (directory / "trained.vocab").unlink()
    return prefix.with_suffix(".model").rename(directory / f"tokenizer.model.{version}")


KINDS = {"tekken": write_tekken, "sentencepiece": write_sentencepiece}
