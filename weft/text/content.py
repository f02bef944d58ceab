"""`fitting_forms`: finds the content form in which a template shows each message's text, by rendering marks as text.

One form may not fit all messages: a template may print one role's content as a string and loop over another role's
parts. Knows messages and a function that renders them; knows no template.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.text.messages import ContentForm, prepare_messages

Render = Callable[[list[dict[str, Any]]], str]

# Forms to try, in this order, for messages whose text is not shown.
_OTHERS = (ContentForm.PARTS, ContentForm.ONE_PART, ContentForm.STRING)

logger = logging.getLogger("weft")


def fitting_forms(messages: Sequence[Mapping[str, Any]], first: ContentForm, render: Render) -> list[ContentForm]:
    """A form for each message in which the prompt shows its text, and not as a printed Python list.

    first: the form that the template seems to take; messages whose text it shows keep it. render: makes the prompt of
    prepared messages; an exception counts as an empty prompt. Messages that no form shows are logged as a warning.
    """
    marked = [_marked(message, number) for number, message in enumerate(messages)]
    forms = [first] * len(messages)
    shown = _shown(marked, forms, render)
    for other in (*_OTHERS, *_OTHERS):      # twice: a message that makes the template fail hides the other messages
        if all(shown):
            return forms
        trial = [form if is_shown else other for form, is_shown in zip(forms, shown, strict=True)]
        found = _shown(marked, trial, render)
        if sum(found) > sum(shown):
            forms, shown = trial, found
    if any(shown):      # else the template refuses the chat, and raises its error when the chat itself is rendered
        lost = sorted({message["role"] for message, is_shown in zip(messages, shown, strict=True) if not is_shown})
        logger.warning("The chat template leaves out text of messages of the role %s, given as a string or as a list.",
                       " and ".join(lost))
    return forms


def _marked(message: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The message with each non-empty text replaced by a mark."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": f"weftmark{number}z0z" if content else ""}
    parts = [part if isinstance(part, str) else next((part[key] for key in ("text", "refusal") if part.get(key)), "")
             for part in content or ()]
    marks = [f"weftmark{number}z{i}z" if text else "" for i, text in enumerate(parts)]
    return {**message, "content": [{"type": "text", "text": mark} for mark in marks] if content else content}


def _marks(message: Mapping[str, Any]) -> list[str]:
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [part["text"] for part in content or ()]
    return [text for text in texts if text]


def _shown(marked: Sequence[Mapping[str, Any]], forms: Sequence[ContentForm], render: Render) -> list[bool]:
    """For each message, whether the prompt contains all its marks, and none of them inside a printed list."""
    try:
        prompt = render(prepare_messages(marked, forms))
    except Exception:   # a template is a program: it may fail in any way on an unexpected form
        return [False] * len(marked)
    spelled = set(re.findall(r"""["']text["']\s*:\s*["'](weftmark\d+z\d+z)""", prompt))
    return [all(mark in prompt and mark not in spelled for mark in _marks(message)) for message in marked]
