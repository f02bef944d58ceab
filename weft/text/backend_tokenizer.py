"""`BackendTokenizer`: a pipeline of the `tokenizers` package with the part of a transformers tokenizer's interface that
weft needs. It imports no transformers.

`plain_tokenizer.py` makes one from tokenizer.json, `gguf_tokenizer.py` from a GGUF file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from weft.text.render import render_chat

# The names of special tokens that every transformers tokenizer has.
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class BackendTokenizer:
    """A tokenizer of the `tokenizers` package.

    Attributes:
        backend_tokenizer: the pipeline.
        special_tokens_map: {name, such as "eos_token": token}.
        chat_template: a template, {name: template}, or None.
    """

    def __init__(self, backend: Backend, *, named: Mapping[str, str | AddedToken],
                 extra: Iterable[str | AddedToken] = (), added: Iterable[AddedToken] = (),
                 chat_template: str | dict[str, str] | None = None, clean_up_tokenization_spaces: bool = False,
                 in_transformers: Callable[[], Any]) -> None:
        """named: special tokens by name. extra: special tokens without a name. added: further tokens that are matched
        in a text as a whole. in_transformers: makes the same tokenizer with transformers.

        Tokens of these that the pipeline lacks are added to it.
        """
        backend.no_padding()              # a stated padding is for batches of equal length
        backend.no_truncation()
        self.backend_tokenizer, self.chat_template = backend, chat_template
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.special_tokens_map = {name: str(token) for name, token in named.items()}
        extra = list(extra)
        self._add(added, list(named.values()), extra)
        self._special = tuple(dict.fromkeys([*self.special_tokens_map.values(), *map(str, extra)]))
        self._in_transformers = in_transformers

    def _add(self, added: Iterable[AddedToken], named: list[str | AddedToken], extra: list[str | AddedToken]) -> None:
        """Add the tokens that the pipeline does not match as a whole yet: by id, named ones, those without a name."""
        known = {token.content for token in self.added_tokens_decoder.values()}
        wanted = {token.content: token for token in added if token.content not in known}
        for token in (*named, *extra):
            if str(token) not in known:
                wanted.setdefault(str(token), AddedToken(token, special=True) if isinstance(token, str) else token)
        for content in wanted.keys() & set(map(str, named)):
            wanted[content].special = True
        if wanted:
            self.backend_tokenizer.add_tokens(list(wanted.values()))

    @cached_property
    def transformers(self) -> Any:
        """The same tokenizer as an object of transformers, made when it is first asked for."""
        return self._in_transformers()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """{id: token} of the tokens that are matched in a text as a whole."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the named special tokens and of the further ones."""
        ids = map(self.backend_tokenizer.token_to_id, self._special)
        return [token_id for token_id in ids if token_id is not None]

    @property
    def bos_token_id(self) -> int | None:
        """The id of the token that begins a text."""
        return self._id_of("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a text."""
        return self._id_of("eos_token")

    def _id_of(self, name: str) -> int | None:
        token = self.special_tokens_map.get(name)
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def get_vocab(self) -> dict[str, int]:
        """{token: id}, added tokens included."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def convert_ids_to_tokens(self, token_id: int) -> str | None:
        """The token of an id; None outside the vocabulary."""
        return self.backend_tokenizer.id_to_token(token_id)

    def encode(self, text: str, add_special_tokens: bool = True, **_: Any) -> list[int]:
        """The token ids of a text."""
        return self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False, **_: Any) -> str:
        """The text of token ids, before spaces are cleaned up."""
        return self.backend_tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(self, conversation: Sequence[Mapping[str, Any]], *, chat_template: str,
                            **options: Any) -> str:
        """The text of a chat. chat_template: a template's text. options: of `render_chat`, and the template's own."""
        options.pop("tokenize", None)
        return render_chat(chat_template, conversation, **{**self.special_tokens_map, **options})
