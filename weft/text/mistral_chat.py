"""`MistralChatRenderer`: turns a chat into token ids with mistral-common, which knows each version's prompt format.

It takes the place of `ChatRenderer` for mistral-common's tokenizers. There is no template, and text never becomes a
control token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.errors import RequestError
from weft.text.messages import ContentForm, objects, prepare_messages
from weft.text.mistral_tokenizer import MistralTokenizer

_EFFORT = "reasoning_effort"
_MIN_VERSION_WITH_EFFORT = 15


class MistralChatRenderer:
    """Renders chats for one tokenizer. Safe to call from several threads."""

    def __init__(self, tokenizer: MistralTokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def has_template(self) -> bool:
        """True: mistral-common makes prompts of chats."""
        return True

    def reads(self, name: str) -> bool:
        """Whether `chat_template_kwargs` may have this key."""
        return name == _EFFORT and int(self._tokenizer.mistral.version.value[1:]) >= _MIN_VERSION_WITH_EFFORT

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
               documents: Sequence[Mapping[str, Any]] | None = None, add_generation_prompt: bool = True,
               continue_final_message: bool = False, chat_template: str | None = None,
               chat_template_content_format: str = "auto",
               chat_template_kwargs: Mapping[str, Any] | None = None) -> list[int]:
        """The prompt of a chat as token ids, special tokens included.

        RequestError names the field at fault, or holds mistral-common's own error message.
        """
        if continue_final_message and add_generation_prompt:
            raise RequestError("continue_final_message", True, expected="false while add_generation_prompt is true",
                               hint="Set add_generation_prompt to false to continue the last message.")
        for name, value in (("documents", documents), ("chat_template", chat_template)):
            if value:
                raise RequestError(name, value, expected=f"none: mistral-common makes the prompt, and knows no {name}")
        if chat_template_content_format not in ("auto", "string", "openai"):
            raise RequestError("chat_template_content_format", chat_template_content_format,
                               expected="auto, string or openai")
        settings = self._settings(chat_template_kwargs)
        prepared, tools = prepare_messages(messages, ContentForm.EITHER), objects("tools", tools)
        try:
            return self._tokenizer.chat_ids(prepared, tools, continue_final_message=continue_final_message, **settings)
        except Exception as error:   # mistral-common raises many types, all about this request
            raise RequestError("messages", [message["role"] for message in prepared],
                               expected="a chat that mistral-common accepts", hint=str(error)) from error

    def _settings(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        if options is not None and not isinstance(options, Mapping):
            raise RequestError("chat_template_kwargs", options, expected="an object")
        for name, value in (options or {}).items():
            if not self.reads(name):
                known = _EFFORT if self.reads(_EFFORT) else "none"
                raise RequestError(f"chat_template_kwargs.{name}", value,
                                   expected=f"a name that this tokenizer's version reads ({known})")
        return dict(options or {})
