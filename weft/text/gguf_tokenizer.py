"""Makes a tokenizer from a GGUF file's metadata: byte-level BPE, or SentencePiece's BPE by scores.

Reads the `tokenizer.*` keys and no tensors. Called by `tokenizer.py` when a model's tokenizer is in a GGUF file.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from weft.errors import ConfigError, NotBuiltError
from weft.resolve.gguf.files import parts_of
from weft.resolve.gguf.header import read_gguf
from weft.resolve.gguf.tokens import CONTROL, END_TOKENS, NORMAL, PREFIX, UNKNOWN, UNUSED, USER_DEFINED
from weft.text.backend_tokenizer import BackendTokenizer
from weft.text.gguf_encoder_words import around, unigrams, word_pieces
from weft.text.gguf_words import WORD_RULES, WordRule

logger = logging.getLogger("weft")

_SPECIAL = ("bos", "eos", "unknown", "padding", "seperator", "mask", "cls")    # spelled as in the metadata keys
_DEFAULT_IDS = {"llama": {"bos": 1, "eos": 2, "unknown": 0}, "gpt2": {}}     # for files without the keys
_HINT = "Pass --tokenizer DIR, or skip_tokenizer_init=True to work with token ids only."


def gguf_tokenizer(path: Path) -> BackendTokenizer:
    """The tokenizer in a GGUF model, given any of its files. ConfigError or CheckpointError names file and key."""
    source = TokenizerKeys(path)
    text = source.get("tokenizer.huggingface.json", str, None)
    backend = source.backend() if text is None else Tokenizer.from_str(text)
    tokens = {f"{kind}_token": token for kind, name in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"),
                                                        ("pad", "padding"), ("sep", "seperator"), ("mask", "mask"),
                                                        ("cls", "cls"))
              if (token := source.special(name)) is not None}
    templates = source.chat_templates()
    return BackendTokenizer(backend, named=tokens, chat_template=templates,
                            in_transformers=lambda: _in_transformers(backend, tokens, templates))


def _in_transformers(backend: Tokenizer, tokens: dict[str, str], templates: str | dict[str, str] | None) -> Any:
    # transformers takes a second to import, and only users need its object.
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=templates,
                                   clean_up_tokenization_spaces=False, **tokens)


class TokenizerKeys:
    """The tokenizer keys of one file, and the tokenizer made from them."""

    def __init__(self, path: Path) -> None:
        header = read_gguf(parts_of(path)[0])
        self.path, self._metadata = header.path, header.metadata
        self.kind = self.get(f"{PREFIX}model", str)
        self.tokens = self.get(f"{PREFIX}tokens", list)
        types = self.get(f"{PREFIX}token_type", np.ndarray, None)
        self.types = np.full(len(self.tokens), NORMAL) if types is None else types
        if len(self.types) != len(self.tokens):
            raise self.error(f"{PREFIX}token_type", f"{len(self.types)} entries", f"{len(self.tokens)}, one for each "
                             "token")
        self.types = np.where([token in END_TOKENS for token in self.tokens], CONTROL, self.types)
        self._special_ids = {name: self._special_id(name) for name in _SPECIAL}

    def get(self, key: str, kind: type, *default: Any) -> Any:
        """A key's value, or the default. ConfigError for a value of another type, or a missing key without default."""
        value = self._metadata.get(key)
        if value is None and default:
            return default[0]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(key, value, f"a value of type {kind.__name__}", "The key is missing. " if value is None
                             else "")
        return value

    def error(self, key: str, value: Any, expected: str, hint: str = "") -> ConfigError:
        shown = f"a list of {len(value)}" if isinstance(value, list | np.ndarray) else value
        return ConfigError(key, shown, expected=expected, source=str(self.path), hint=hint + _HINT)

    def _special_id(self, name: str) -> int | None:
        """The id of one of _SPECIAL; None if the file has none, or (with a warning) an id outside the vocabulary.

        Converters write a config's -1, which means none, as an unsigned number.
        """
        key = f"{PREFIX}{name}_token_id"
        value = self.get(key, int, _DEFAULT_IDS.get(self.kind, {}).get(name))
        if value is None or (key not in self._metadata and value >= len(self.tokens)):
            return None
        if 0 <= value < len(self.tokens):
            return value
        logger.warning("%s: %s = %d is no id of the %d tokens: there is no such token.", self.path, key, value,
                       len(self.tokens))
        return None

    def special(self, name: str) -> str | None:
        """The text of one of _SPECIAL, or None."""
        number = self._special_ids[name]
        return None if number is None else self.tokens[number]

    def chat_templates(self) -> str | dict[str, str] | None:
        """The chat template; {name: template} if there are several; None if there is none."""
        prefix = "tokenizer.chat_template"
        default = self.get(prefix, str, None)
        named = {key.removeprefix(f"{prefix}."): self.get(key, str) for key in self._metadata
                 if key.startswith(f"{prefix}.")}
        if not named:
            return default
        return named if default is None else {"default": default} | named

    def backend(self) -> Tokenizer:
        """The tokenizer itself, with its added tokens."""
        if self.kind in ("bert", "t5"):
            return self._encoders()
        if self.kind == "gpt2":
            tokenizer, adds_bos = self._byte_level()
        elif self.kind == "llama":
            tokenizer, adds_bos = self._sentencepiece(), True
        else:
            raise NotBuiltError(f"{PREFIX}model", self.kind, expected="gpt2, llama, bert or t5", source=str(self.path),
                                hint=f"weft does not read other tokenizers out of GGUF files yet. {_HINT}")
        self._add_tokens(tokenizer)
        self._add_ends(tokenizer, adds_bos)
        return tokenizer

    def _encoders(self) -> Tokenizer:
        """WordPiece (bert) or unigrams (t5), with the ends that an encoder's texts have."""
        first, last = self.special("bos") or self.special("cls"), self.special("seperator") or self.special("eos")
        if self.kind == "bert":
            first, last = first or "[CLS]", last or "[SEP]"
            tokenizer = word_pieces(self.tokens, self.types == NORMAL, self.special("unknown") or "[UNK]")
        else:
            first = first if self.get(f"{PREFIX}add_bos_token", bool, False) else None
            tokenizer = self._unigrams()
        self._add_tokens(tokenizer)
        ends = [token for token in (first, last) if token is not None]
        ids = {token: number for token in ends if (number := tokenizer.token_to_id(token)) is not None}
        if len(ids) < len({*ends}):
            raise self.error(f"{PREFIX}tokens", self.tokens, f"the tokens {' and '.join(ends)}")
        tokenizer.post_processor = around(first, last, ids, has_types=self.kind == "bert")
        return tokenizer

    def _unigrams(self) -> Tokenizer:
        scores, characters = self._scores(), self.get(f"{PREFIX}precompiled_charsmap", np.ndarray, None)
        unknown = self._special_ids["unknown"]
        if unknown is None:
            raise self.error(f"{PREFIX}unknown_token_id", None, "the id of a token")
        return unigrams(self.tokens, scores, unknown,
                        characters=None if characters is None else characters.astype(np.uint8).tobytes(),
                        adds_space=self.get(f"{PREFIX}add_space_prefix", bool, True),
                        merges_spaces=self.get(f"{PREFIX}remove_extra_whitespaces", bool, True))

    def _scores(self) -> np.ndarray:
        scores = self.get(f"{PREFIX}scores", np.ndarray)
        if len(scores) != len(self.tokens):
            raise self.error(f"{PREFIX}scores", scores, f"{len(self.tokens)} numbers, one for each token")
        return scores

    def _vocabulary(self) -> dict[str, int]:
        """{token: id}, without padding ids. Of equal tokens the first one counts."""
        used = (i for i, token in enumerate(self.tokens) if not (self.types[i] == UNUSED and token.startswith("[PAD")))
        out: dict[str, int] = {}
        for i in used:
            out.setdefault(self.tokens[i], i)
        return out

    def _byte_level(self) -> tuple[Tokenizer, bool]:
        rule = self._word_rule()
        merges = [tuple(merge.split(" ", 1)) for merge in self.get(f"{PREFIX}merges", list)]
        broken = next((number for number, merge in enumerate(merges) if len(merge) != 2), None)
        if broken is not None:
            raise self.error(f"{PREFIX}merges[{broken}]", " ".join(merges[broken]), "two tokens with a space between")
        tokenizer = Tokenizer(models.BPE(self._vocabulary(), merges, ignore_merges=rule.ignores_merges))
        if (normalizer := rule.normalizer()) is not None:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = rule.make()
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer, rule.adds_bos

    def _word_rule(self) -> WordRule:
        key = f"{PREFIX}pre"
        if key not in self._metadata:
            logger.warning("%s: %s is missing, as in old files, so words may be cut otherwise than the model learned "
                           "them: take a newer file, or pass --tokenizer DIR.", self.path, key)
        name = self.get(key, str, "default")
        if name not in WORD_RULES:
            raise NotBuiltError(key, name, expected=f"one of {', '.join(WORD_RULES)}", source=str(self.path),
                                hint=f"weft does not know how this tokenizer cuts words. {_HINT}")
        return WORD_RULES[name]

    def _sentencepiece(self) -> Tokenizer:
        vocabulary = self._vocabulary()
        unknown = self.special("unknown")
        tokenizer = Tokenizer(models.BPE(vocabulary, self._merges(vocabulary), unk_token=unknown, fuse_unk=True,
                                         byte_fallback=True))
        spaces, leading = [normalizers.Replace(" ", "▁")], []
        if self.get(f"{PREFIX}add_space_prefix", bool, True):
            spaces, leading = [normalizers.Prepend("▁"), *spaces], [decoders.Strip(" ", 1, 0)]
        tokenizer.normalizer = normalizers.Sequence(spaces)
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                               *leading])
        return tokenizer

    def _merges(self, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
        """SentencePiece's rule (merge the neighbours whose union has the highest score) as a list of merges, in order.
        """
        scores = self._scores()
        order = np.argsort(-scores.astype(np.float64), kind="stable")
        pieces = (self.tokens[i] for i in order.tolist() if self.types[i] == NORMAL)
        return [(piece[:cut], piece[cut:]) for piece in pieces for cut in range(1, len(piece))
                if piece[:cut] in vocabulary and piece[cut:] in vocabulary]

    def _add_tokens(self, tokenizer: Tokenizer) -> None:
        """Add the tokens that are matched in a text as a whole: control tokens and user-defined ones."""
        named = set(self._special_ids.values())
        numbers = np.flatnonzero(np.isin(self.types, (CONTROL, USER_DEFINED, UNKNOWN))).tolist()
        tokenizer.add_tokens([
            AddedToken(self.tokens[i], normalized=False, special=self.types[i] != USER_DEFINED or i in named)
            for i in numbers if self.tokens[i]])

    def _add_ends(self, tokenizer: Tokenizer, adds_bos: bool) -> None:
        first = self.special("bos") if self.get(f"{PREFIX}add_bos_token", bool, adds_bos) else None
        last = self.special("eos") if self.get(f"{PREFIX}add_eos_token", bool, False) else None
        ends = [token for token in (first, last) if token is not None]
        if ends:
            before, after = [first] if first is not None else [], [last] if last is not None else []
            tokenizer.post_processor = processors.TemplateProcessing(
                single=[*before, "$A", *after], pair=[*before, "$A:0", *before, "$B:1", *after],
                special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys(ends)])
