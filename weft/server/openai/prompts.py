"""Turns messages into a prompt: checks the server's rules about templates and tools, then calls `text/chat.py`.

Rendering runs in a thread: a template is a program, and a long conversation takes time.
"""

from __future__ import annotations

import asyncio
from typing import Any

from weft.errors import NotBuiltError, RequestError
from weft.server.context import ServerContext
from weft.server.errors import ApiError, bad_field, dotted
from weft.server.openai.schemas import ChatBody, TokenizeBody


async def render(context: ServerContext, body: ChatBody | TokenizeBody) -> str | list[int]:
    """The prompt of `body.messages`, as text or token ids. ApiError 400 names the wrong message or field."""
    renderer, messages = context.require_renderer(), body.messages or ()
    if body.chat_template is not None and not context.options.trust_request_chat_template:
        raise bad_field("chat_template", body.chat_template, expected="no template in a request",
                        hint="It is a program: a server takes it only with --trust-request-chat-template.")
    variables = {**context.options.default_chat_template_kwargs, **_effort(context, body), **body.chat_template_kwargs}

    def work() -> str | list[int]:
        return renderer.render(
            messages, tools=body.tools, documents=getattr(body, "documents", None),
            add_generation_prompt=body.add_generation_prompt,
            continue_final_message=body.continue_final_message, chat_template=body.chat_template,
            chat_template_content_format=context.options.chat_template_content_format,
            chat_template_kwargs=variables)

    try:
        return await asyncio.to_thread(work)
    except RequestError as error:
        raise ApiError(400, str(error), dotted(error.field)) from error


def _effort(context: ServerContext, body: ChatBody | TokenizeBody) -> dict[str, str]:
    """`reasoning_effort`, if the chat template reads it; {} otherwise, because clients send it to every model."""
    effort = getattr(body, "reasoning_effort", None)
    if effort is None or not context.require_renderer().reads("reasoning_effort"):
        return {}
    return {"reasoning_effort": effort}


def check_tools(body: ChatBody) -> None:
    """Refuses tool calls, which weft does not parse yet. With `tool_choice` "none" a template may still show the tools.
    """
    choice: Any = body.tool_choice
    if body.tools is None:
        if choice not in (None, "none", "auto"):
            raise bad_field("tool_choice", choice, expected="null, none or auto without tools")
        return
    if choice in (None, "auto"):
        raise NotBuiltError("tools", [tool.get("type") for tool in body.tools], expected='tool_choice "none"',
                            hint="weft does not parse tool calls yet.")
    if choice != "none":
        raise NotBuiltError("tool_choice", choice, expected='"none"', hint="weft does not parse tool calls yet.")
