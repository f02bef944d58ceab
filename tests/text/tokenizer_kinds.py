"""Tiny tokenizers of each kind that checkpoints have, built in memory and trained on a few lines."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

LINES = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "Hello world! How are you? I'm fine, it's what we've said. Don't they're go .",
    "Grüße, naïve café 你好 世界 😀 two words",
] * 3


def byte_level() -> Any:
    """Byte-level BPE, as of GPT-2, Llama 3 and Qwen; `é` is spelled as a byte of its alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=320, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|bos|>", "<|eos|>"]))
    tokenizer.add_tokens(["two words", "é", AddedToken("<think>", special=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|eos|>",
                                   clean_up_tokenization_spaces=True)   # as Llama 3 says, and nobody heeds


def llama2() -> Any:
    """BPE with `▁` for spaces and a token for each byte that has no other, as of Llama 2."""
    special, byte_tokens = ["<unk>", "<s>", "</s>"], [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(LINES[:2], trainers.BpeTrainer(
        vocab_size=400, show_progress=False, special_tokens=special + byte_tokens))
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=_only_special(tokenizer, special), unk_token="<unk>",
                                   bos_token="<s>", eos_token="</s>")


def metaspace() -> Any:
    """Unigram with a Metaspace decoder, as of T5 and XLNet."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(LINES, trainers.UnigramTrainer(
        vocab_size=120, show_progress=False, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def word_piece() -> Any:
    """WordPiece with its spaces cleaned up, as of BERT."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.train_from_iterator(LINES, trainers.WordPieceTrainer(
        vocab_size=200, show_progress=False, special_tokens=["[UNK]", "[CLS]", "[SEP]"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                                   clean_up_tokenization_spaces=True)


def word_level() -> Any:
    """Whole words and no decoder at all: spaces between any two tokens."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(LINES, trainers.WordLevelTrainer(
        show_progress=False, special_tokens=["<unk>", "<a>", "<b>"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<a>", eos_token="<b>")


def suffixed() -> Any:
    """BPE with `</w>` at the end of words, as of GPT: what a token adds depends on whether more follow."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(
        vocab_size=150, show_progress=False, special_tokens=["<unk>", "<e>"], end_of_word_suffix="</w>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<e>")


KINDS = {build.__name__: build for build in (byte_level, llama2, metaspace, word_piece, word_level, suffixed)}


def _only_special(tokenizer: Tokenizer, special: list[str]) -> Tokenizer:
    """The tokenizer again with only these added tokens: a trainer makes special whatever it is told to begin with."""
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [token for token in values["added_tokens"] if token["content"] in special]
    return Tokenizer.from_str(json.dumps(values))
