"""Tokenizers of encoders out of GGUF files cut texts as those of Transformers do, alone and in pairs."""

from __future__ import annotations

import pytest
from gguf_vocabularies import write
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, XLMRobertaTokenizer

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError
from weft.resolve.gguf.tokens import CONTROL, NORMAL
from weft.text.pairs import encode_pair
from weft.text.tokenizer import Tokenizer, load_tokenizer

LINES = ["The harbour wakes before the town does; small boats slip past.", "Où est la bibliothèque? Près de l'église.",
         "def add(left, right):\n    return left + right", "你好，世界。 12345 3.14"] * 4
TEXTS = ["", "Hello", "  two  words ", "naïve Café", "[MASK] is a token", "你好世界😀", *LINES[:4]]
ENDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def load(path) -> Tokenizer:
    return load_tokenizer(TokenizerConfig(path=str(path)))


def bert(*, lower: bool) -> BertTokenizer:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=220, special_tokens=ENDS))
    return BertTokenizer(vocab=backend.get_vocab(), do_lower_case=lower)


def write_bert(path, hf: BertTokenizer, **metadata):
    by_id = sorted(hf.get_vocab(), key=hf.get_vocab().get)
    tokens = [piece if piece in ENDS else piece[2:] if piece.startswith("##") else f"▁{piece}" for piece in by_id]
    return write(path, ggml__model="bert", ggml__pre="jina-v2-en", ggml__tokens=tokens,
                 ggml__token_type=[int(CONTROL if piece in ENDS else NORMAL) for piece in by_id],
                 **{"ggml__cls_token_id": 2, "ggml__seperator_token_id": 3, "ggml__unknown_token_id": 1} | metadata)


@pytest.mark.parametrize("lower", [True, False])
def test_word_pieces(lower, tmp_path):
    hf = bert(lower=lower)
    found = load(write_bert(tmp_path / "m.gguf", hf))

    for text in TEXTS:
        assert found.encode(text) == hf.encode(text), text
    pair = hf("one text", "another")
    assert encode_pair(found, "one text", "another") == (pair["input_ids"], pair["token_type_ids"])


def test_ids_of_ends_may_be_missing(tmp_path):
    hf = bert(lower=True)
    missing = dict.fromkeys(("ggml__cls_token_id", "ggml__seperator_token_id", "ggml__unknown_token_id"))

    assert load(write_bert(tmp_path / "m.gguf", hf, **missing)).encode("Hello") == hf.encode("Hello")
    with pytest.raises(ConfigError, match=r"tokens.*\[CLS\] and \[SEP\]"):
        load(write(tmp_path / "other.gguf", ggml__model="bert", ggml__tokens=["▁a", "[UNK]"]))


def unigram() -> list[tuple[str, float]]:
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(LINES, trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], unk_token="<unk>"))
    pieces = backend.get_vocab()
    return [(piece, -float(i % 37) / 3 - 1) for piece, i in sorted(pieces.items(), key=lambda item: item[1])]


def test_unigrams(tmp_path):
    pieces = unigram()
    hf = XLMRobertaTokenizer(vocab=pieces)
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    path = write(tmp_path / "m.gguf", ggml__model="t5", ggml__tokens=[piece for piece, _ in pieces],
                 ggml__scores=[score for _, score in pieces], ggml__add_bos_token=True, ggml__add_eos_token=True,
                 ggml__token_type=[int(CONTROL if piece in special else NORMAL) for piece, _ in pieces],
                 ggml__bos_token_id=0, ggml__eos_token_id=2, ggml__unknown_token_id=3, ggml__padding_token_id=1)
    found = load(path)

    for text in (text for text in TEXTS if "[" not in text):
        assert found.encode(text) == hf.encode(text), text
    assert encode_pair(found, "one text", "another")[0] == hf("one text", "another")["input_ids"]
