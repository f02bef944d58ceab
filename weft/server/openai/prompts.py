"""Turns messages into a prompt: checks the server's rules about templates, then calls `text/chat.py`.

Rendering runs in the lanes for prompts: a template is a program, and a long conversation takes time. Images are fetched
in threads, and decoded in a lane of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from weft.errors import QueueFullError, RequestError
from weft.frontend.chat_media import Reader, image_url, take_images
from weft.frontend.lanes import num_chars
from weft.media.encoded import ImageFile
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
    """The prompt of `body.messages`, rendered, with its images read, as token ids.

    place: of the messages in the client's body. must_fit: as of `AsyncLLM.encode_prompt`. Errors, which name the wrong
    message, image or field, as of `render` and of reading images (`AsyncLLM.read_media_prompt`).
    """
    messages, images = take_images(body.messages or (), _readers(served))
    for image in images:
        _check_takes_images(served, image.field)
    rendered = await render(served, body, messages=messages, shows_tools=shows_tools)
    if images:
        prompt = await _read_images(served, rendered, images, place, add_special_tokens=add_special_tokens)
    else:
        prompt = {"prompt_token_ids": await served.encode(rendered, place, add_special_tokens=add_special_tokens,
                                                          must_fit=must_fit)}
    return ChatPrompt(rendered, prompt, messages)


def _readers(served: ServedModel) -> Mapping[str, Reader]:
    """What is read of a client's parts: image files, of a model that takes images."""
    def read(field: str, part: Mapping[str, Any]) -> ImageFile:
        _check_takes_images(served, f"{field}.image_url")
        return image_url(field, part)

    return {"image_url": read}


def _check_takes_images(served: ServedModel, field: str) -> None:
    if "image" not in served.engine.info.media_kinds:
        raise RequestError(field, "an image", expected="text alone",
                           hint=f"{served.engine.config.model.architecture} takes no images.")


async def _read_images(served: ServedModel, rendered: str | list[int], images: Sequence[ImageFile], place: str, *,
                       add_special_tokens: bool) -> dict[str, Any]:
    key = "prompt" if isinstance(rendered, str) else "prompt_token_ids"
    try:
        files = await served.engine.fetch_media(images)
        return await served.engine.read_media_prompt(
            {key: rendered, "multi_modal_data": {"image": files}}, add_special_tokens=add_special_tokens,
            num_chars=sum(len(file.data) for file in files))
    except RequestError as error:
        if error.field in {image.field for image in images}:
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
