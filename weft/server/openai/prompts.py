"""Turns messages into a prompt: checks the server's rules about templates, then calls `text/chat.py`.

Rendering runs in the lanes for prompts: a template is a program, and a long conversation takes time.
"""

from __future__ import annotations

from typing import Any, Protocol

from weft.errors import QueueFullError
from weft.frontend.lanes import num_chars
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


async def render(served: ServedModel, body: Conversation, *,
                 shows_tools: bool = True) -> str | list[int]:
    """The prompt of `body.messages`, as text or token ids. RequestError names the wrong message or field.

    shows_tools: False: the template does not get the tools.
    """
    renderer, messages = served.require_renderer(), body.messages or ()
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
