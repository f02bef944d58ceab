"""Turns messages into a prompt: checks the server's rules about templates, then calls `text/chat.py`.

Rendering runs in the lanes for prompts: a template is a program, and a long conversation takes time. Images are fetched
in threads, and decoded in a lane of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from weft.errors import QueueFullError, RequestError
from weft.frontend.chat_media import IN_FILES, Reader, TakenMedia, take_media
from weft.frontend.lanes import num_chars
from weft.media.kinds import PLURALS, SINGULARS, taken
from weft.server.errors import bad_field
from weft.server.served import ServedModel

_SWITCHES = ("enable_thinking", "thinking")      # variables of chat templates


class Conversation(Protocol):
    """What a body needs for its messages to be rendered."""

    @property
    def messages(self) -> list[dict[str, Any]] | None: ...

    @property
    def tools(self) -> list[dict[str, Any]] | None: ...

    @property
    def chat_template(self) -> str | None: ...

    @property
    def chat_template_kwargs(self) -> dict[str, Any]: ...

    @property
    def add_generation_prompt(self) -> bool: ...

    @property
    def continue_final_message(self) -> bool: ...


def check_trusted(served: ServedModel, chat_template: str | None) -> None:
    """ApiError 400 for a template in a request, unless the server trusts its clients with that."""
    if chat_template is not None and not served.options.trust_request_chat_template:
        raise bad_field("chat_template", chat_template, expected="no template in a request",
                        hint="It is a program: a server takes it only with --trust-request-chat-template.")


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation that the engine can run.

    rendered: what the template made. for_engine: the prompt with its ids and media. messages: with a mark in the place
    of each image.
    """

    rendered: str | list[int]
    for_engine: dict[str, Any]
    messages: Sequence[dict[str, Any]]

    @property
    def token_ids(self) -> list[int]:
        """The prompt's ids, with those that stand for the rows of images."""
        return self.for_engine["prompt_token_ids"]


async def read_chat(served: ServedModel, body: Conversation, place: str, *, add_special_tokens: bool,
                    shows_tools: bool = True, must_fit: bool = False) -> ChatPrompt:
    """The prompt of `body.messages`, rendered, with its media read, as token ids.

    place: of the messages in the client's body. must_fit: as of `AsyncLLM.encode_prompt`. Errors, which name the wrong
    message, item or field, as of `render` and of reading media (`AsyncLLM.read_media_prompt`).
    """
    messages, media = take_media(body.messages or (), _readers(served))
    for kind, items in media.items.items():
        for item in items:
            _check_takes(served, kind, item.field)
    rendered = await render(served, body, messages=messages, shows_tools=shows_tools)
    if media.items:
        prompt = await _read_media(served, rendered, media, place, add_special_tokens=add_special_tokens)
    else:
        prompt = {"prompt_token_ids": await served.encode(rendered, place, add_special_tokens=add_special_tokens,
                                                          must_fit=must_fit)}
    return ChatPrompt(rendered, prompt, messages)


def _readers(served: ServedModel) -> Mapping[str, tuple[str, Reader]]:
    """What is read of a client's parts: files, of a model that takes their kind."""
    def checked(part_type: str, kind: str, read: Reader) -> Reader:
        def reader(field: str, part: Mapping[str, Any]) -> Any:
            _check_takes(served, kind, f"{field}.{part_type}")
            return read(field, part)

        return reader

    return {part_type: (kind, checked(part_type, kind, read)) for part_type, (kind, read) in IN_FILES.items()}


def _check_takes(served: ServedModel, kind: str, field: str) -> None:
    kinds = served.engine.info.media_kinds
    if kind not in kinds:
        raise RequestError(field, SINGULARS[kind], expected=taken(kinds),
                           hint=f"{served.engine.config.model.architecture} takes no {PLURALS[kind]}.")


async def _read_media(served: ServedModel, rendered: str | list[int], media: TakenMedia, place: str, *,
                      add_special_tokens: bool) -> dict[str, Any]:
    key = "prompt" if isinstance(rendered, str) else "prompt_token_ids"
    try:
        files = {kind: await served.engine.fetch_media(items) for kind, items in media.items.items()}
        return await served.engine.read_media_prompt(
            {key: rendered, "multi_modal_data": files, "multi_modal_uuids": media.uuids},
            add_special_tokens=add_special_tokens,
            num_chars=sum(len(file.data) for items in files.values() for file in items))
    except RequestError as error:
        if error.field in {item.field for items in media.items.values() for item in items}:
            raise
        # Where another library refused, its words are in the hint; they are not for clients.
        hint = "" if error.__cause__ is not None else error.hint
        raise RequestError(place, error.value, expected=error.expected, hint=hint) from error
    except QueueFullError as error:
        raise served.too_many(error) from error


async def render(served: ServedModel, body: Conversation, *, messages: Sequence[dict[str, Any]] | None = None,
                 shows_tools: bool = True) -> str | list[int]:
    """The prompt of a conversation, as text or token ids. RequestError names the wrong message or field.

    messages: None: those of the body. shows_tools: False: the template does not get the tools.
    """
    renderer, messages = served.require_renderer(), body.messages or () if messages is None else messages
    check_trusted(served, body.chat_template)
    variables = {**served.options.default_chat_template_kwargs, **_effort(served, body), **body.chat_template_kwargs}
    tools = [_shown(tool) for tool in body.tools or ()] if shows_tools else None

    def work() -> str | list[int]:
        return renderer.render(
            messages, tools=tools, documents=getattr(body, "documents", None),
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message, chat_template=body.chat_template,
            chat_template_content_format=served.options.chat_template_content_format,
            chat_template_kwargs=variables)

    try:
        return await served.engine.lanes.run(work, num_chars(messages))
    except QueueFullError as error:
        raise served.too_many(error) from error


def _shown(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as models know it: `strict` is for the server."""
    function = tool.get("function")
    if not isinstance(function, dict) or "strict" not in function:
        return tool
    return {**tool, "function": {key: value for key, value in function.items() if key != "strict"}}


def _effort(served: ServedModel, body: Conversation) -> dict[str, Any]:
    """`reasoning_effort` as the chat template reads it; {} if it does not, because clients send it to every model.

    "none" also switches the reasoning off in templates that have a switch.
    """
    effort, renderer = getattr(body, "reasoning_effort", None), served.require_renderer()
    if effort is None:
        return {}
    variables: dict[str, Any] = {"reasoning_effort": effort} if renderer.reads("reasoning_effort") else {}
    return variables | {name: False for name in _SWITCHES if effort == "none" and renderer.reads(name)}
