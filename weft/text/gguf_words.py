"""Pre-tokenizers of byte-level tokenizers in GGUF files: the rules by which a text is split into words before merging.

A file holds only a rule's name, in `tokenizer.ggml.pre`. The rules are from the tokenizer.json of each model, the names
from llama-vocab.cpp of github.com/ggml-org/llama.cpp. Knows no vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LETTERS_CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+{c}"
                  r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*{c}")


def _words(digits: str) -> str:
    """A pattern that matches contractions, words with one sign before, numbers, signs with newlines after, and spaces.
    """
    return rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"


def _cased_words(digits: str, contractions: str) -> str:
    """Like `_words`, but a word ends where an upper case letter follows a lower case one."""
    letters = _LETTERS_CASED.replace("{c}", contractions)
    return rf"{letters}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"


def _split(*patterns: str) -> Any:
    """A pre-tokenizer that splits by each pattern in turn, then maps bytes to characters."""
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _digits_alone() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _falcon() -> Any:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), _gpt2(), pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])


@dataclass(frozen=True, slots=True)
class WordRule:
    """How a text is split into words. make: returns the pre-tokenizer. composes: the text is normalised to NFC first.

    ignores_merges: a word that is a token is not merged from pieces. adds_bos: the default for files that do not say.
    """

    make: Callable[[], Any]
    composes: bool = False
    ignores_merges: bool = False
    adds_bos: bool = False

    def normalizer(self) -> Any | None:
        return normalizers.NFC() if self.composes else None


_LLAMA3 = WordRule(lambda: _split(_words(r"\p{N}{1,3}")), ignores_merges=True, adds_bos=True)
_GPT4 = WordRule(lambda: _split(_words(r"\p{N}{1,3}")))
_QWEN2 = WordRule(lambda: _split(_words(r"\p{N}")), composes=True)
_GPT2 = WordRule(_gpt2)
_DIGITS = WordRule(_digits_alone)
_GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CJK, _CJK_WIDE = r"[一-龥぀-ゟ゠-ヿ]+", r"[一-龥ࠀ-一가-퟿]+"
_PUNCTUATED = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"

WORD_RULES: dict[str, WordRule] = {
    "default": WordRule(lambda: _split(r"[\p{P}\$\+<=>\^~\|]+", _GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]")),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "granite-docling", "gigachat", "exaone4", "trillion",
                     "mellum", "a.x-4.0"), _GPT2),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
                    _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), _GPT4),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), _QWEN2),
    "stablelm2": WordRule(lambda: _split(_words(r"\p{N}"))),
    **dict.fromkeys(("starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b"), _DIGITS),
    "command-r": WordRule(_digits_alone, composes=True),
    "falcon": WordRule(_falcon),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), WordRule(
        lambda: _split(r" ?[^(\s|[.,!?…。，、।۔،])]+"))),
    "tekken": WordRule(lambda: _split(_cased_words(r"\p{N}", "")), ignores_merges=True, adds_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4"), WordRule(
        lambda: _split(_cased_words(r"\p{N}{1,3}", f"{_CONTRACTIONS}?")))),
    "seed-coder": WordRule(lambda: _split(
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}")),
    "deepseek-llm": WordRule(lambda: _split(
        r"[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _CJK_WIDE, r"\p{N}")),
    "deepseek-coder": WordRule(lambda: _split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_WIDE, r"\p{N}")),
    "deepseek-v3": WordRule(lambda: _split(
        r"\p{N}{1,3}", _CJK,
        rf"{_PUNCTUATED}|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}")),
}
