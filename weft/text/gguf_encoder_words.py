"""The tokenizers of encoders in GGUF files: WordPiece (BERT) and unigrams (XLM-RoBERTa), from their metadata.

Source: llama-vocab.cpp and convert_hf_to_gguf.py of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_WORD_START = "▁"          # the converter's mark of pieces that begin a word; the others lose their "##"


def word_pieces(tokens: Sequence[str], is_plain: Sequence[bool], unknown: str) -> Tokenizer:
    """BERT's tokenizer. is_plain: whether a token is a piece of words, which others (control tokens) are not.

    Texts are lower-cased without accents unless a piece has a capital letter: files do not say.
    """
    pieces = [token.removeprefix(_WORD_START) if token.startswith(_WORD_START) or not plain else f"##{token}"
              for token, plain in zip(tokens, is_plain, strict=True)]
    vocabulary: dict[str, int] = {}
    for i, piece in enumerate(pieces):
        vocabulary.setdefault(piece, i)
    is_cased = any(plain and piece != piece.lower() for piece, plain in zip(pieces, is_plain, strict=True))
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not is_cased, strip_accents=not is_cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigrams(tokens: Sequence[str], scores: Iterable[float], unknown_id: int, *, characters: bytes | None,
             adds_space: bool, merges_spaces: bool) -> Tokenizer:
    """SentencePiece's unigram tokenizer. characters: its compiled map of characters; None: texts stay as they are.

    adds_space: a text begins with a space. merges_spaces: several spaces count as one.
    """
    tokenizer = Tokenizer(models.Unigram(list(zip(tokens, map(float, scores), strict=True)), unk_id=unknown_id))
    steps = [normalizers.Precompiled(characters)] if characters else []
    if merges_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if adds_space else "never"
    words = [pre_tokenizers.WhitespaceSplit()] if merges_spaces else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*words, pre_tokenizers.Metaspace(prepend_scheme=scheme)])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tokenizer


def around(first: str | None, last: str | None, ids: Mapping[str, int], *,
           has_types: bool) -> processors.TemplateProcessing:
    """`first` before a text, `last` behind it. has_types: the second text of a pair has type 1 (BERT); else it has
    `last` before it too, where there is a `first` (RoBERTa, not T5).
    """
    before, after = [first] if first is not None else [], [last] if last is not None else []
    single, between = [*before, "$A", *after], after if before else []
    second = ["$B:1", *(f"{token}:1" for token in after)] if has_types else [*between, "$B", *after]
    return processors.TemplateProcessing(
        single=single, pair=single + second,
        special_tokens=[(token, ids[token]) for token in dict.fromkeys((*before, *after))])
