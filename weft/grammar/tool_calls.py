"""Answers that are tool calls: forms for `tool_choice` "required", for a named tool, and for `strict` tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from weft.grammar.marks import pieces_of
from weft.grammar.schema_parts import rewritten
from weft.structured_outputs import StructuredOutputsParams


class ToolSchema(NamedTuple):
    """A tool's name, and the JSON schema of its arguments; {} for any."""

    name: str
    parameters: dict[str, Any]


def arguments_form(tool: ToolSchema) -> StructuredOutputsParams:
    """An answer that is the arguments of one tool, and nothing else."""
    return StructuredOutputsParams(json=_arguments(tool))


def calls_form(tools: Sequence[ToolSchema], *, parallel: bool = True) -> StructuredOutputsParams:
    """An answer that is a JSON list of calls, each {"name": …, "parameters": {…}}. parallel False: of one call."""
    defs = {f"tool_{i}": _moved(_arguments(tool), f"#/$defs/tool_{i}/") for i, tool in enumerate(tools)}
    calls = [{"type": "object", "properties": {"name": {"const": tool.name}, "parameters": {"$ref": f"#/$defs/{key}"}},
              "required": ["name", "parameters"], "additionalProperties": False}
             for key, tool in zip(defs, tools, strict=True)]
    schema = {"type": "array", "items": {"anyOf": calls}, "minItems": 1, "$defs": defs}
    return StructuredOutputsParams(json=schema if parallel else schema | {"maxItems": 1})


def tagged_form(tools: Sequence[ToolSchema], begin: Callable[[str], str], end: str, *, trigger: str = "",
                separator: str = "\n", parallel: bool = True, special: Mapping[str, int] | None = None,
                text_marks: Iterable[str] = ()) -> StructuredOutputsParams:
    """An answer with calls in a model's own notation: begin(name), the arguments as JSON, end. {INDEX} in
    begin(name) is any number.

    trigger: the text with which every begin(name) begins: the answer is free text in which this text starts a call.
        "": the answer is calls only, with `separator` between them. parallel False: the answer ends after one call.
    special: {text: id} of special tokens: within the marks they must come as such. text_marks: those that the free text
        may have.
    """
    special = special or {}

    def mark(text: str) -> str | list[str | int]:
        pieces = pieces_of(text, special)
        return pieces if any(isinstance(piece, int) for piece in pieces) else text

    def tag(tool: ToolSchema) -> dict[str, Any]:
        before, index, after = begin(tool.name).rpartition("{INDEX}")
        content = {"type": "json_schema", "json_schema": _arguments(tool)}
        inner = {"type": "tag", "begin": mark(after), "content": content, "end": mark(end)}
        if not index:
            return inner
        numbered = {"type": "sequence", "elements": [{"type": "regex", "pattern": "[0-9]+"}, inner]}
        return {"type": "tag", "begin": mark(before), "content": numbered, "end": ""}

    tags = [tag(tool) for tool in tools]
    kind = ({"type": "triggered_tags", "triggers": [mark(trigger)]} if trigger else
            {"type": "tags_with_separator", "separator": separator, "at_least_one": True})
    if also := [special[text] for text in text_marks if text in special]:
        kind["text_tokens"] = also
    return StructuredOutputsParams(structural_tag={"format": kind | {"tags": tags, "stop_after_first": not parallel}})


def _arguments(tool: ToolSchema) -> dict[str, Any]:
    return tool.parameters or {"type": "object"}


def _moved(schema: Any, root: str) -> Any:
    """The schema with its `$ref`s leading to where it is put."""
    def change(part: dict[str, Any]) -> dict[str, Any]:
        ref = part.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            return part
        return part | {"$ref": root.removesuffix("/") if ref in ("#", "#/") else root + ref.removeprefix("#/")}

    return rewritten(schema, change)
