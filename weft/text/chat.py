"""`Renderer`: the interface that turns a chat into a prompt. `ChatRenderer`: a renderer that uses the chat template.

It chooses the template, and passes messages in the form that the template reads and only arguments that the template
declares; the tokenizer renders the template in a sandbox (`render.py`, or transformers). Knows no engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jinja2 import TemplateError, TemplateSyntaxError

from weft.config.engine_config import TokenizerConfig
from weft.errors import ConfigError, RequestError
from weft.text.content import fitting_forms
from weft.text.messages import ContentForm, objects, prepare_messages, with_text_arguments
from weft.text.mistral_chat import MistralChatRenderer
from weft.text.mistral_tokenizer import MistralTokenizer
from weft.text.template import ChatTemplate, is_template_text, named_templates, read_template
from weft.text.tokenizer import Tokenizer, load_tokenizer

# Arguments of transformers' apply_chat_template that chat_template_kwargs may not set.
_RESERVED = frozenset({
    "conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt",
    "continue_final_message", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
    "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
})


class Renderer(Protocol):
    """Turns a chat into a prompt: token ids, or text with its special tokens (to be encoded without adding any)."""

    @property
    def has_template(self) -> bool:
        """Whether a chat can be rendered without `chat_template`."""
        ...

    def reads(self, name: str) -> bool:
        """Whether the renderer uses a setting of this name in `chat_template_kwargs`."""
        ...

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
               documents: Sequence[Mapping[str, Any]] | None = None, add_generation_prompt: bool = True,
               continue_final_message: bool = False, chat_template: str | None = None,
               chat_template_content_format: str = "auto",
               chat_template_kwargs: Mapping[str, Any] | None = None) -> str | list[int]:
        """The prompt. RequestError names the field at fault."""
        ...


class ChatRenderer:
    """Renders chats for one tokenizer. Safe to call from several threads."""

    def __init__(self, tokenizer: Tokenizer, chat_template: str | None = None) -> None:
        """chat_template: a template's text, its path, or the name of one of the tokenizer's templates; None: all of the
        tokenizer's templates. ConfigError when the template cannot be read or parsed.
        """
        self._source = tokenizer.source
        self._special_token_names = frozenset(self._source.special_tokens_map)
        self._texts = tokenizer.chat_templates
        self._parsed: dict[str, ChatTemplate] = {}
        if chat_template is not None:
            self._texts = named_templates(self._source.chat_template, chat_template)
            _check_parsed(chat_template, self._texts["default"])

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer has a default template."""
        return "default" in self._texts

    def reads(self, name: str) -> bool:
        """Whether the default template reads a variable of this name, so that the setting has an effect."""
        return "default" in self._texts and name in self._named("default").declared

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
               documents: Sequence[Mapping[str, Any]] | None = None, add_generation_prompt: bool = True,
               continue_final_message: bool = False, chat_template: str | None = None,
               chat_template_content_format: str = "auto",
               chat_template_kwargs: Mapping[str, Any] | None = None) -> str:
        """The prompt of a chat. It contains the special tokens, so encode it with add_special_tokens=False.

        chat_template: a template's text or the name of one of the tokenizer's, never a path: requests read no files.
        RequestError names the field at fault, or holds the template's own error message.
        """
        if continue_final_message and add_generation_prompt:
            raise RequestError("continue_final_message", True, expected="false while add_generation_prompt is true",
                               hint="Set add_generation_prompt to false to continue the last message.")
        tools, documents = objects("tools", tools), objects("documents", documents)
        template = self._choose(chat_template, has_tools=tools is not None)
        for name, value in (("tools", tools), ("documents", documents)):
            if value is not None and not template.reads(name):
                raise RequestError(name, value, expected=f"none: the chat template does not read {name}",
                                   hint="The model would not see them.")
        options = {"tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt,
                   "continue_final_message": continue_final_message, **_declared(template, chat_template_kwargs)}
        form = _content_form(template, chat_template_content_format)
        prepared = prepare_messages(messages, form)
        if chat_template_content_format == "auto" and template.takes_parts:
            forms = fitting_forms(messages, form, lambda marked: self._render(template, marked, **options))
            prepared = prepare_messages(messages, forms)
        return self._render(template, prepared, **options)

    def _render(self, template: ChatTemplate, messages: list[dict[str, Any]], **options: Any) -> str:
        def render(messages: list[dict[str, Any]]) -> str:
            return self._source.apply_chat_template(messages, chat_template=template.text, tokenize=False, **options)

        try:
            return render(messages)
        except Exception as error:   # a template is a program: any failure must end only this request
            is_refusal = type(error) is TemplateError   # raised by raise_exception(...) in the template
            as_texts = None if is_refusal else with_text_arguments(messages)
            if as_texts is not None:    # DeepSeek's templates join the arguments of calls to other texts
                with contextlib.suppress(Exception):
                    return render(as_texts)
            reason = str(error) if is_refusal else f"It failed: {type(error).__name__}: {error}"
            raise RequestError("messages", [message["role"] for message in messages],
                               expected="a chat that the chat template accepts", hint=reason) from error

    def _choose(self, chat_template: str | None, *, has_tools: bool) -> ChatTemplate:
        if chat_template is None:
            return self._named("tool_use" if has_tools and "tool_use" in self._texts else "default")
        is_text = isinstance(chat_template, str)
        if is_text and chat_template in self._texts:
            return self._named(chat_template)
        if not is_text or not is_template_text(chat_template):
            raise RequestError("chat_template", chat_template, expected="the text of a Jinja template" + "".join(
                f" or {name!r}" for name in sorted(self._texts)), hint="A file is named when weft starts.")
        return self._parse(chat_template)

    def _named(self, name: str) -> ChatTemplate:
        if name not in self._texts:
            known = f"only {', '.join(sorted(self._texts))}" if self._texts else "none"
            raise RequestError("chat_template", None, expected="a chat template", hint=(
                f"The tokenizer has {known}. Pass chat_template, start with --chat-template FILE, "
                "or send the whole prompt as text."))
        if name not in self._parsed:
            self._parsed[name] = self._parse(self._texts[name])
        return self._parsed[name]

    def _parse(self, text: str) -> ChatTemplate:
        return _parsed(text, self._special_token_names)


def check_chat_template(text_or_path: str) -> None:
    """ConfigError for the engine's option `chat_template` if the template cannot be read or parsed."""
    _check_parsed(text_or_path, read_template(text_or_path))


def _check_parsed(chat_template: str, text: str) -> None:
    try:
        _parsed(text)
    except RequestError as error:
        raise ConfigError("chat_template", chat_template, expected=error.expected, hint=error.hint) from error


def _parsed(text: str, special_token_names: frozenset[str] = frozenset()) -> ChatTemplate:
    try:
        return ChatTemplate(text, special_token_names=special_token_names)
    except TemplateSyntaxError as error:
        raise RequestError("chat_template", text, expected="a Jinja template",
                           hint=f"Line {error.lineno}: {error.message}") from error


def make_renderer(tokenizer: Tokenizer, chat_template: str | None = None) -> Renderer:
    """The renderer for a tokenizer: mistral-common's for its tokenizers, else a ChatRenderer, with its ConfigErrors."""
    if isinstance(tokenizer.source, MistralTokenizer):
        return MistralChatRenderer(tokenizer.source)
    return ChatRenderer(tokenizer, chat_template)


def load_text(config: TokenizerConfig) -> tuple[Tokenizer | None, Renderer | None]:
    """Tokenizer and renderer, with what they otherwise compute at their first use. Both None without a path."""
    if config.path is None:
        return None, None
    tokenizer = load_tokenizer(config)
    _ = tokenizer.vocab_size
    return tokenizer, make_renderer(tokenizer, config.chat_template)


def _declared(template: ChatTemplate, options: Mapping[str, Any] | None) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise RequestError("chat_template_kwargs", options, expected="an object")
    for name, value in options.items():
        if name in _RESERVED:
            raise RequestError(f"chat_template_kwargs.{name}", value, expected="no such key",
                               hint="It is set by the request's own fields.")
        if name not in template.declared:
            known = ", ".join(sorted(template.declared)) or "none"
            raise RequestError(f"chat_template_kwargs.{name}", value,
                               expected=f"a name that the chat template reads ({known})")
    return dict(options)


def _content_form(template: ChatTemplate, asked: str) -> ContentForm:
    match asked:
        case "string" | "openai":
            return ContentForm(asked)
        case "auto" if not template.takes_parts:
            return ContentForm.STRING
        case "auto":
            return ContentForm.EITHER if template.tests_string else ContentForm.PARTS
    raise RequestError("chat_template_content_format", asked, expected="auto, string or openai")
