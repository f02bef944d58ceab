"""The form of answers that must call tools, and the parsers of such answers.

`required` forces a list of calls in JSON, the name of a tool its arguments, and `strict` each call's arguments, in the
model's own format, into the tool's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from weft.compat.vllm.options.accept import tell
from weft.grammar.tool_calls import ToolSchema, arguments_form, calls_form, tagged_form
from weft.server.errors import bad_field
from weft.server.openai.tool_choice import Choice, ToolUse
from weft.structured_outputs import FIELD, StructuredOutputsParams
from weft.text.parsing.events import AnswerParser
from weft.text.parsing.json_text import quoted
from weft.text.parsing.parsers import Parsers
from weft.text.tokenizer import Tokenizer
from weft.text.tools.forced import LIST_OF_CALLS, ArgumentsOf
from weft.text.tools.tool_format import ToolFormat
from weft.text.tools.types import ToolTypes


def forced_form(use: ToolUse, given: Mapping[str, Any], parsers: Parsers,
                tokenizer: Tokenizer) -> StructuredOutputsParams | None:
    """The form that the answer's calls must have; None: none. ApiError 400 where the body asks for another form, too.
    """
    form = _form(use, parsers, tokenizer)
    if form is None:
        return None
    if given.get(FIELD) is not None:
        if use.choice is Choice.AUTO:
            return None                              # the body's form leaves no room for calls
        raise bad_field("tool_choice", use.choice.value, expected="auto or none beside response_format or "
                        "structured_outputs", hint="Each describes the whole answer.")
    return replace(form, source="tools")


def forced_parser(use: ToolUse) -> AnswerParser | None:
    """The parser of an answer whose calls are forced; None if the model may write what it likes."""
    match use.choice:
        case Choice.REQUIRED:
            return LIST_OF_CALLS.parser(ToolTypes(use.tools))
        case Choice.NAMED:
            assert use.name is not None, "a named choice has the name"
            return ArgumentsOf(use.name)
    return None


def _form(use: ToolUse, parsers: Parsers, tokenizer: Tokenizer) -> StructuredOutputsParams | None:
    match use.choice:
        case Choice.REQUIRED:
            return calls_form([_schema(tool) for tool in use.tools], parallel=use.may_repeat)
        case Choice.NAMED:
            return arguments_form(next(schema for schema in map(_schema, use.tools) if schema.name == use.name))
        case Choice.AUTO if any(_is_strict(tool) for tool in use.tools):
            return _strict_form(use, parsers, tokenizer)
    return None


def _strict_form(use: ToolUse, parsers: Parsers, tokenizer: Tokenizer) -> StructuredOutputsParams | None:
    kind = parsers.tools
    if not isinstance(kind, ToolFormat) or kind.tag is None:
        tell("strict", "calls in this model's format are not forced into their tools' schemas; tool_choice "
             "required does")
        return None
    trigger, begin, end = kind.tag
    schemas = [_schema(tool) if _is_strict(tool) else ToolSchema(tool["function"]["name"], {}) for tool in use.tools]
    is_json = '"NAME"' in begin
    return tagged_form(schemas, lambda name: begin.replace("NAME", quoted(name) if is_json else name), end,
                       trigger=trigger, parallel=use.may_repeat, special=tokenizer.special_texts,
                       text_marks=() if kind.form is None else (*kind.form.dropped, *kind.form.closes))


def _schema(tool: Mapping[str, Any]) -> ToolSchema:
    function = tool["function"]
    return ToolSchema(function["name"], dict(function.get("parameters") or {}))


def _is_strict(tool: Mapping[str, Any]) -> bool:
    return tool["function"].get("strict") is True
