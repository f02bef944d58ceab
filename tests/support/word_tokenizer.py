"""A tokenizer of whole words that writes pairs as BERT does: [CLS] a [SEP] b [SEP], with token types."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{i}" for i in range(100)]


def save_word_tokenizer(directory: Path, *more: str) -> BertTokenizerFast:
    """Write its files into a directory; the tokenizer of Transformers that reads them. more: words besides WORDS."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *WORDS, *more])}
    backend = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer = BertTokenizerFast(tokenizer_object=backend)
    tokenizer.save_pretrained(directory)
    return tokenizer
