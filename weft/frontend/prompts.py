"""The forms of a prompt that users may give, and `Prompt`, the one form that the rest of weft uses.

This module checks types and keys; `inputs.py` checks token ids against the vocabulary, and lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict

from weft.errors import NotBuiltError, RequestError
from weft.field_checks import check_text
from weft.frontend.prompt_media import PromptMedia, ReadMedia, parse_media

if TYPE_CHECKING:
    from torch import Tensor


class TextPrompt(TypedDict):
    """A prompt as text. multi_modal_data, multi_modal_uuids, mm_processor_kwargs: as `PromptMedia`."""

    prompt: str
    multi_modal_data: NotRequired[dict[str, Any]]
    multi_modal_uuids: NotRequired[dict[str, Any]]
    mm_processor_kwargs: NotRequired[dict[str, Any]]
    cache_salt: NotRequired[str]


class TokensPrompt(TypedDict):
    """A prompt as token ids. prompt: optional text of the prompt, repeated in the output. Media as in TextPrompt.

    token_type_ids: for a pooling model with such types (BERT's segments), the type of each token; without them all are
    of type 0.
    """

    prompt_token_ids: list[int]
    token_type_ids: NotRequired[list[int]]
    prompt: NotRequired[str]
    multi_modal_data: NotRequired[dict[str, Any]]
    multi_modal_uuids: NotRequired[dict[str, Any]]
    mm_processor_kwargs: NotRequired[dict[str, Any]]
    cache_salt: NotRequired[str]


class EmbedsPrompt(TypedDict):
    """A prompt as embedding rows, for an engine with `enable_prompt_embeds`.

    prompt_embeds: [T, E], as the model's `embed_input_ids` returns for T token ids; or the base64 text of a
        `torch.save` file with such a tensor.
    prompt: optional text of the prompt, repeated in the output.
    """

    prompt_embeds: Tensor | str
    prompt: NotRequired[str]
    cache_salt: NotRequired[str]


class ExplicitEncoderDecoderPrompt(TypedDict):
    """The two prompts of a model with an encoder, each in a form of its own.

    encoder_prompt: the input; of a model that hears, a dictionary with `multi_modal_data` and an empty prompt.
    decoder_prompt: the beginning of the answer, after the decoder's start token; None: the start token alone.
    """

    encoder_prompt: str | list[int] | TextPrompt | TokensPrompt
    decoder_prompt: NotRequired[str | list[int] | TextPrompt | TokensPrompt | None]
    cache_salt: NotRequired[str]


class PairPrompt(NamedTuple):
    """Two texts that a cross-encoder reads as one prompt."""

    first: str
    second: str
    cache_salt: str | None = None


PromptType = str | list[int] | TextPrompt | TokensPrompt | EmbedsPrompt | ExplicitEncoderDecoderPrompt

_KEYS = frozenset({"prompt", "prompt_token_ids", "prompt_embeds", "cache_salt", "token_type_ids"})
_PAIR_KEYS = frozenset({"encoder_prompt", "decoder_prompt"})
# vLLM's other keys. None or an empty dictionary means: not used.
_UNBUILT_KEYS = frozenset({"data", "data_format", "media_io_kwargs"})
_MEDIA_KEYS = frozenset({"multi_modal_data", "mm_processor_kwargs", "multi_modal_uuids"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt: text, token ids, or embeddings. With token ids or embeddings, `text` is only repeated in the output.

    cache_salt: see EngineRequest. embeds: as the user gave them, unchecked. token_type_ids: beside token ids.
    second_text: of a PairPrompt.
    encoder: the encoder's prompt, if the user gave it apart; then this prompt is the decoder's, which may have neither
        text nor ids (the decoder's start token alone).
    media: of a prompt with text or token ids (read ones: with token ids); None: it has none.
    """

    text: str | None
    token_ids: list[int] | None
    cache_salt: str | None = None
    embeds: Any = None
    token_type_ids: list[int] | None = None
    second_text: str | None = None
    encoder: Prompt | None = None
    media: PromptMedia | ReadMedia | None = None

    @property
    def has_media(self) -> bool:
        """Whether this prompt, or the encoder's, has media."""
        return self.media is not None or (self.encoder is not None and self.encoder.media is not None)


def split_prompts(prompts: Any) -> list[Any]:
    """The prompts given to `LLM.generate`, as a list. A single prompt (text, dictionary, PairPrompt or list of ids)
    becomes a list of one."""
    if isinstance(prompts, str | dict | PairPrompt):
        return [prompts]
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes | bytearray):
        raise RequestError("prompts", prompts, expected="a prompt (text, token ids or a dictionary) or a list of them")
    is_one_prompt = bool(prompts) and not isinstance(prompts[0], str | dict | Sequence)
    return [prompts] if is_one_prompt else list(prompts)


def parse_prompt(prompt: Any) -> Prompt:
    """The user's prompt as a `Prompt`. RequestError for a wrong type, an unknown key, bad text or an empty prompt."""
    if isinstance(prompt, str):
        return Prompt(text=_text(prompt), token_ids=None)
    if isinstance(prompt, PairPrompt):
        _check_salt(prompt.cache_salt)
        return Prompt(text=_text(prompt.first), token_ids=None, second_text=_text(prompt.second),
                      cache_salt=prompt.cache_salt)
    if isinstance(prompt, dict):
        return _parse_dict(prompt)
    if isinstance(prompt, Sequence) and not isinstance(prompt, bytes | bytearray):
        return Prompt(text=None, token_ids=_token_ids(prompt))
    raise RequestError("prompt", prompt, expected="text, a list of token ids, or a dictionary with prompt, "
                                                  "prompt_token_ids or prompt_embeds")


def _parse_dict(prompt: dict[Any, Any]) -> Prompt:
    if any(prompt.get(key) is not None for key in _PAIR_KEYS):
        return _parse_pair(prompt)
    media = parse_media({key: prompt[key] for key in _MEDIA_KEYS if key in prompt})
    prompt = {key: value for key, value in prompt.items() if key not in _PAIR_KEYS | _MEDIA_KEYS}
    for key, value in prompt.items():
        if key in _UNBUILT_KEYS:
            if value is not None and not (isinstance(value, dict) and not value):
                raise NotBuiltError(f"prompt.{key}", value, expected="None", hint="weft has no code for it yet.")
        elif key not in _KEYS:
            raise RequestError("prompt", key, expected=f"only the keys {', '.join(sorted(_KEYS | _MEDIA_KEYS))}")
    text, token_ids, salt = prompt.get("prompt"), prompt.get("prompt_token_ids"), prompt.get("cache_salt")
    embeds = prompt.get("prompt_embeds")
    if text is None and token_ids is None and embeds is None:
        raise RequestError("prompt", prompt, expected="a dictionary with prompt, prompt_token_ids or prompt_embeds")
    _check_salt(salt)
    types = prompt.get("token_type_ids")
    if types is not None and token_ids is None:
        raise RequestError("token_type_ids", types, expected="None without prompt_token_ids")
    if token_ids is None and embeds is None:
        return Prompt(text=_text(text), token_ids=None, cache_salt=salt, media=media)
    if text is not None:
        check_text("prompt", text)
    if embeds is not None:
        if token_ids is not None:
            raise RequestError("prompt_token_ids", token_ids, expected="None beside prompt_embeds",
                               hint="Each row stands for a token: give one or the other.")
        if media is not None:
            raise RequestError("multi_modal_data", "media", expected="None beside prompt_embeds")
        return Prompt(text=text, token_ids=None, cache_salt=salt, embeds=embeds)
    ids = _token_ids(token_ids)
    return Prompt(text=text, token_ids=ids, cache_salt=salt, token_type_ids=_types(types, len(ids)),
                  media=media)


def _parse_pair(prompt: dict[Any, Any]) -> Prompt:
    """{"encoder_prompt", "decoder_prompt"} as the decoder's Prompt with its `encoder`."""
    others = [key for key, value in prompt.items() if key not in _PAIR_KEYS | {"cache_salt"} and value is not None]
    if others:
        raise RequestError(f"prompt.{others[0]}", prompt[others[0]],
                           expected="only encoder_prompt, decoder_prompt and cache_salt together")
    clip = _clip(prompt.get("encoder_prompt"))
    encoder = _part("encoder_prompt", prompt.get("encoder_prompt")) if clip is None else clip
    decoder = _part("decoder_prompt", prompt.get("decoder_prompt"))
    if encoder is None:
        raise RequestError("encoder_prompt", None, expected="a prompt for the encoder beside decoder_prompt")
    salt = prompt.get("cache_salt")
    _check_salt(salt)
    decoder = Prompt(text=None, token_ids=None) if decoder is None else decoder
    return replace(decoder, cache_salt=salt, encoder=encoder)


def _clip(value: Any) -> Prompt | None:
    """The prompt of an encoder that hears, whose text is empty; None: it is not one."""
    if not isinstance(value, dict) or value.get("prompt") or set(value) - _MEDIA_KEYS - {"prompt"}:
        return None
    media = parse_media({key: value[key] for key in _MEDIA_KEYS if key in value})
    return None if media is None else Prompt(text=None, token_ids=None, media=media)


def _part(name: str, value: Any) -> Prompt | None:
    """One prompt of a pair: text or token ids. Errors name it."""
    if value is None:
        return None
    try:
        parsed = parse_prompt(value)
    except RequestError as error:
        raise RequestError(name, error.value, expected=error.expected, hint=error.hint) from error
    if parsed.embeds is not None or parsed.encoder is not None or parsed.cache_salt is not None or parsed.media:
        raise RequestError(name, value, expected="text or token ids")
    return parsed


def _types(types: Any, num_tokens: int) -> list[int] | None:
    if types is None:
        return None
    is_list = isinstance(types, Sequence) and not isinstance(types, str | bytes | bytearray)
    if not is_list or len(types) != num_tokens or not all(type(kind) is int and kind >= 0 for kind in types):
        raise RequestError("token_type_ids", types, expected=f"a list of {num_tokens} integers from 0, one for each "
                           "token id")
    return list(types)


def _check_salt(salt: Any) -> None:
    if salt is not None and not check_text("prompt.cache_salt", salt):
        raise RequestError("prompt.cache_salt", salt, expected="a string that is not empty, or None")


def _text(text: Any) -> str:
    if not check_text("prompt", text):
        raise RequestError("prompt", text, expected="text that is not empty")
    return text


def _token_ids(token_ids: Any) -> list[int]:
    if not isinstance(token_ids, Sequence) or isinstance(token_ids, str | bytes | bytearray):
        raise RequestError("prompt_token_ids", token_ids, expected="a list of token ids")
    if not token_ids:
        raise RequestError("prompt_token_ids", token_ids, expected="at least one token id")
    for i, token_id in enumerate(token_ids):
        if type(token_id) is not int:      # not isinstance: True must not count as 1
            raise RequestError(f"prompt_token_ids[{i}]", token_id, expected="a token id, an integer")
    return list(token_ids)
