"""`Tokenizer`: text to token ids and back, around the tokenizer of a checkpoint; and its loading.

Knows no chat (`chat.py`) and no stream (`detokenizer.py`). Imports transformers only for a tokenizer that is more than
its tokenizer.json (`plain_tokenizer.py`), and when a user asks for an object of transformers.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError, RequestError, WeftError
from weft.resolve.gguf.files import check_gguf_file
from weft.text.backend_tokenizer import BackendTokenizer
from weft.text.gguf_tokenizer import gguf_tokenizer
from weft.text.joiner import TextJoiner
from weft.text.mistral_tokenizer import MistralTokenizer, is_mistral_only, mistral_file
from weft.text.pieces import Pieces, pieces_of
from weft.text.plain_tokenizer import read_plain
from weft.text.template import named_templates

logger = logging.getLogger("weft")

# Sets of files that AutoTokenizer can load a tokenizer from; one complete set is enough.
TOKENIZER_FILES = (
    ("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("spiece.model",),
    ("sentencepiece.bpe.model",), ("tiktoken.model",), ("tekken.json",),
)
_SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


class Tokenizer:
    """A tokenizer.

    Attributes:
        source: the tokenizer that weft uses: a BackendTokenizer, a transformers tokenizer, or a MistralTokenizer.
        special_ids: ids that `skip_special_tokens` leaves out.
        pieces: the text or bytes that single tokens add to a text.
        chat_templates: {name: text} of the chat templates to use.
    """

    def __init__(self, source: Any, *, chat_template: str | None = None, lowers_case: bool = False) -> None:
        """lowers_case: texts become lower case before `source` reads them. chat_template: a text, a path or a name, in
        place of the tokenizer's own. ConfigError if it is none of these.
        """
        self.source, self._lowers_case = source, lowers_case
        marked = {token_id for token_id, token in source.added_tokens_decoder.items() if token.special}
        self.special_ids: frozenset[int] = frozenset(marked | set(source.all_special_ids))
        self.chat_templates = named_templates(source.chat_template, chat_template)

    @property
    def hf(self) -> Any:
        """The tokenizer for users: an object of transformers, made at the first call, or a MistralTokenizer."""
        return self.source.transformers if isinstance(self.source, BackendTokenizer) else self.source

    @cached_property
    def pieces(self) -> Pieces:
        """The tokenizer's pieces. Made when first needed, because this reads the whole vocabulary."""
        is_mistral = isinstance(self.source, MistralTokenizer)
        return self.source.pieces() if is_mistral else pieces_of(self.source, self.special_ids)

    @cached_property
    def special_texts(self) -> dict[str, int]:
        """{text without white space around it: id} of the special tokens that have a text."""
        texts = ((self.token_text(token_id).strip(), token_id) for token_id in sorted(self.special_ids))
        return {text: token_id for text, token_id in texts if text}

    @property
    def vocab_size(self) -> int:
        """The largest id plus one, added tokens included. The model's vocab_size may be larger (padding)."""
        return self.pieces.num_ids

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a text; None when the tokenizer names none."""
        return self.source.eos_token_id

    @property
    def bos_token_id(self) -> int | None:
        """The id of the token that begins a text; None when the tokenizer names none."""
        return self.source.bos_token_id

    @property
    def chat_template(self) -> str | None:
        """The text of the default chat template, or None."""
        return self.chat_templates.get("default")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text. RequestError when the text is no valid Unicode (a lone surrogate)."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise RequestError("prompt", text, expected="valid Unicode",
                               hint=f"Character {error.start} is half of a surrogate pair.") from error
        if self._lowers_case:
            text = text.lower()
        return list(self.source.encode(text, add_special_tokens=add_special_tokens, verbose=False))

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True,
               spaces_between_special_tokens: bool = True) -> str:
        """The text of token ids; ids outside the vocabulary add nothing.

        spaces_between_special_tokens False: no space between two special tokens, for decoders that put a space between
        any two tokens.
        """
        joiner = self.joiner(skip_special_tokens=skip_special_tokens,
                             spaces_between_special_tokens=spaces_between_special_tokens)
        return joiner.push(token_ids) + joiner.peek()

    def joiner(self, *, skip_special_tokens: bool, spaces_between_special_tokens: bool) -> TextJoiner:
        """A new joiner, which turns a stream of tokens into text."""
        return TextJoiner(self.pieces, skip_special_tokens=skip_special_tokens, cleans_up=self.cleans_up,
                          spaces_between_special_tokens=spaces_between_special_tokens)

    def token_text(self, token_id: int) -> str:
        """The text of one token inside a text, with its leading space; "" for ids outside the vocabulary."""
        return self.pieces.text(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token: its own if tokens are bytes, else the UTF-8 of `token_text`."""
        return self.pieces.bytes(token_id)

    @property
    def pipeline(self) -> str:
        """The tokenizer as JSON of the `tokenizers` package; "" if it is of another kind."""
        backend = getattr(self.source, "backend_tokenizer", None)
        return "" if backend is None else backend.to_str()

    @cached_property
    def cleans_up(self) -> bool:
        """True if spaces before punctuation are removed from decoded text."""
        # Many byte-level tokenizers ask for cleanup. transformers ignores this: cleanup would remove real spaces.
        backend = getattr(self.source, "backend_tokenizer", None)
        is_bpe = backend is not None and type(backend.model).__name__ == "BPE"
        return bool(self.source.clean_up_tokenization_spaces) and not is_bpe


def load_tokenizer(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer in `config.path`, a folder or a GGUF file. ConfigError names the missing or broken file."""
    if config.path is not None and check_gguf_file(config.path):
        return Tokenizer(_of_gguf(Path(config.path)), chat_template=config.chat_template,
                         lowers_case=config.lowers_case)
    if config.mode == "mistral" or (config.mode == "auto" and is_mistral_only(Path(config.path or ""))):
        return Tokenizer(_of_mistral(config), lowers_case=config.lowers_case)
    directory = _directory(config)
    try:
        found = read_plain(directory, lambda: _in_transformers(directory, config))
        if isinstance(found, str):
            logger.debug("%s: transformers loads the tokenizer, because %s.", directory, found)
            found = _in_transformers(directory, config)
    except Exception as error:   # tokenizers, transformers and remote code raise many types; a file here is the cause
        raise _unusable(directory, f"It could not be loaded: {type(error).__name__}: {error}") from error
    return Tokenizer(found, chat_template=config.chat_template, lowers_case=config.lowers_case)


def _in_transformers(directory: Path, config: TokenizerConfig) -> Any:
    """The tokenizer that transformers makes of a directory, with the pipeline that its tokenizer.json states."""
    # Importing transformers takes a second, with torch more; weft must answer --version without it.
    from transformers import AutoTokenizer

    # mistral_format=False: otherwise the result would depend on whether mistral-common is installed.
    return _as_the_file_says(directory, AutoTokenizer.from_pretrained(
        directory, trust_remote_code=config.trust_remote_code, local_files_only=True, mistral_format=False))


def _as_the_file_says(directory: Path, hf: Any) -> Any:
    """`hf` with the pipeline of its tokenizer.json: normaliser, pre-tokenizer, merges and decoder.

    Transformers rebuilds the pipeline of a class that has an `__init__` from the vocabulary alone. The rebuilt pipeline
    may give a text other ids than the file's, which the model was trained with.
    """
    path, cls = directory / "tokenizer.json", type(hf)
    is_rebuilt = "__init__" in cls.__dict__ and cls.__module__.startswith("transformers.models.")
    made = getattr(hf, "backend_tokenizer", None)
    if made is None or not is_rebuilt or not path.is_file():
        return hf
    from tokenizers import Tokenizer as Backend

    stated = Backend.from_file(str(path))
    known = {token.content for token in stated.get_added_tokens_decoder().values()}
    stated.add_tokens([token for _, token in sorted(made.get_added_tokens_decoder().items())
                       if token.content not in known])
    stated.post_processor = made.post_processor      # the file's, unless the class sets another
    hf._tokenizer = stated
    return hf


def _of_gguf(path: Path) -> Any:
    try:
        return gguf_tokenizer(path)
    except WeftError:
        raise
    except Exception as error:      # tokenizers and transformers raise many types; the cause is the file's metadata
        raise ConfigError("tokenizer", str(path), expected="a GGUF file with a whole tokenizer",
                          hint=f"{type(error).__name__}: {error}. Pass --tokenizer DIR, or skip_tokenizer_init=True to "
                          "work with token ids only.") from error


def _of_mistral(config: TokenizerConfig) -> MistralTokenizer:
    if config.chat_template is not None:
        raise ConfigError("chat_template", config.chat_template, expected="none with a tokenizer of mistral-common, "
                          "which makes the prompts of chats itself", hint="tokenizer_mode hf renders templates.")
    directory = Path(config.path or "")
    file = mistral_file(directory)
    if file is None:
        raise ConfigError("tokenizer", str(directory), expected="a directory with a tekken.json or tokenizer.model.v*",
                          hint="tokenizer_mode auto takes the tokenizer that is there.")
    return MistralTokenizer(file)


def _directory(config: TokenizerConfig) -> Path:
    """The tokenizer's directory. ConfigError unless it holds the files of a tokenizer."""
    if config.path is None:
        raise ConfigError("tokenizer", None, expected="a directory", hint="Pass --tokenizer DIR.")
    directory = Path(config.path)
    if not directory.is_dir():
        raise _unusable(directory, "There is no such directory.")
    present = [names for names in TOKENIZER_FILES if all((directory / name).is_file() for name in names)]
    if not present and not config.trust_remote_code:
        raise _unusable(directory, f"Looked for {', '.join('+'.join(names) for names in TOKENIZER_FILES)}, "
                         "tokenizer.model.v*.")
    if present and all(names[0] in _SENTENCEPIECE_FILES for names in present) \
            and importlib.util.find_spec("sentencepiece") is None:
        raise _unusable(directory, f"{present[0][0]} needs another package: pip install sentencepiece protobuf.")
    return directory


def _unusable(directory: Path, reason: str) -> ConfigError:
    return ConfigError("tokenizer", str(directory), expected="a directory with the files of a tokenizer",
                       hint=f"{reason} Pass --tokenizer DIR, or skip_tokenizer_init=True to work with token ids only.")
