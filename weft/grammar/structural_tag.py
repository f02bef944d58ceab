"""Structural tags: text in which parts between a begin and an end follow a schema (tool calls, for example).

Reads both of vLLM's notations, `structures` with `triggers` and the newer `format`, into one Lark grammar. Beyond
them, a begin, an end and a trigger may be a list of texts and token ids, where these are special tokens; and
`text_tokens` are ids that the text around triggered tags may have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from llguidance import LLMatcher, regex_to_lark
from llguidance.gbnf_to_lark import any_to_lark

from weft.errors import NotBuiltError, RequestError
from weft.grammar.json_schema import JsonStyle, styled_schema
from weft.grammar.marks import expression_of

_TEXT = r"/(.|\n)*/"


def tag_grammar(tag: dict[str, Any], style: JsonStyle, field: str) -> str:
    """The grammar of a structural tag. RequestError names the part that is wrong."""
    lark = _Lark(style)
    if "format" in tag:
        return lark.text(lark.read(tag["format"], f"{field}.format"))
    return lark.text(lark.read(_as_format(tag, field), field))


def _as_format(tag: dict[str, Any], field: str) -> dict[str, Any]:
    """The notation with `structures` and `triggers`, in that of `format`."""
    structures = tag.get("structures")
    if not isinstance(structures, list) or not structures:
        raise RequestError(f"{field}.structures", structures, expected="a list of {begin, schema, end}",
                           hint="The newer notation has a `format`.")
    tags = []
    for i, item in enumerate(structures):
        if not isinstance(item, dict):
            raise RequestError(f"{field}.structures[{i}]", item, expected="{begin, schema, end}")
        content = {"type": "json_schema", "json_schema": item.get("schema", {})}
        tags.append({"type": "tag", "begin": item.get("begin"), "content": content, "end": item.get("end")})
    return {"type": "triggered_tags", "triggers": tag.get("triggers"), "tags": tags}


class _Lark:
    """A Lark grammar under construction. Each `read` method returns an expression for the format that it is given."""

    def __init__(self, style: JsonStyle) -> None:
        self._style = style
        self._rules: list[str] = []
        self._inner: list[dict[str, str]] = []      # grammars of their own that rules refer to
        self._readers: dict[str, Callable[[dict[str, Any], str], str]] = {
            "const_string": self._const, "json_schema": self._json, "any_text": self._any_text, "regex": self._regex,
            "grammar": self._grammar, "sequence": self._sequence, "or": self._or, "tag": self._tag,
            "triggered_tags": self._triggered, "tags_with_separator": self._separated}

    def text(self, start: str) -> str:
        """The grammar that begins with the expression `start`, in llguidance's form."""
        lark = "\n".join(["%llguidance {}", f"start: {start}", *self._rules])
        if not self._inner:
            return LLMatcher.grammar_from_lark(lark)
        return json.dumps({"grammars": [{"name": "tags", "lark_grammar": lark}, *self._inner]})

    def read(self, form: Any, field: str) -> str:
        """A format's expression."""
        kind = form.get("type") if isinstance(form, dict) else None
        if kind == "qwen_xml_parameter":
            raise NotBuiltError(f"{field}.type", kind, expected=f"one of {', '.join(self._readers)}")
        if kind not in self._readers:
            raise RequestError(f"{field}.type", kind if isinstance(form, dict) else form,
                               expected=f"one of {', '.join(self._readers)}")
        return self._readers[kind](form, field)

    def _rule(self, body: str, attribute: str = "") -> str:
        name = f"rule_{len(self._rules)}"
        self._rules.append(f"{name}{attribute}: {body}")
        return name

    def _const(self, form: dict[str, Any], field: str) -> str:
        return _literal(form.get("value"), f"{field}.value")

    def _json(self, form: dict[str, Any], field: str) -> str:
        schema = styled_schema(form.get("json_schema"), self._style, f"{field}.json_schema")
        return self._rule(f"%json {json.dumps(schema)}")

    def _any_text(self, form: dict[str, Any], field: str) -> str:
        if form.get("excludes"):
            raise NotBuiltError(f"{field}.excludes", form["excludes"], expected="none")
        return self._rule(_TEXT)

    def _regex(self, form: dict[str, Any], field: str) -> str:
        pattern = _text(form.get("pattern"), f"{field}.pattern")
        return self._rule(f"/{regex_to_lark(pattern)}/")

    def _grammar(self, form: dict[str, Any], field: str) -> str:
        text, name = _text(form.get("grammar"), f"{field}.grammar"), f"grammar_{len(self._inner)}"
        try:
            self._inner.append({"name": name, "lark_grammar": any_to_lark(text)})
        except Exception as error:      # the converter raises several types; the cause is the text
            raise RequestError(f"{field}.grammar", text, expected="a grammar in GBNF or Lark's form",
                               hint=f"{error}") from error
        return self._rule(f"@{name}")

    def _sequence(self, form: dict[str, Any], field: str) -> str:
        parts, elements = [], _list(form.get("elements"), f"{field}.elements")
        for i, element in enumerate(elements):
            after = _first_text(elements[i + 1]) if i + 1 < len(elements) else ""
            if _is_any_text(element) and after:      # ends where the next element's first text begins
                parts.append(self._until([after]))
            elif i and _is_any_text(elements[i - 1]) and (begun := _first_text(element)):
                parts.append(self._read_rest(element, begun, f"{field}.elements[{i}]"))
            else:
                parts.append(self.read(element, f"{field}.elements[{i}]"))
        return " ".join(parts)

    def _or(self, form: dict[str, Any], field: str) -> str:
        elements = _list(form.get("elements"), f"{field}.elements")
        return self._rule(" | ".join(self.read(item, f"{field}.elements[{i}]") for i, item in enumerate(elements)))

    def _tag(self, form: dict[str, Any], field: str) -> str:
        begin = _pieces(form.get("begin"), f"{field}.begin", may_be_empty=True)
        return f"{expression_of(begin)} {self._tag_rest(form, field)}"

    def _tag_rest(self, form: dict[str, Any], field: str) -> str:
        """What follows the begin of a tag."""
        end = _pieces(form.get("end"), f"{field}.end", may_be_empty=True)
        if _is_any_text(form.get("content")) and end:
            return self._until(end)
        return f"{self.read(form.get('content'), f'{field}.content')} {expression_of(end)}"

    def _triggered(self, form: dict[str, Any], field: str) -> str:
        triggers = [_pieces(text, f"{field}.triggers[{i}]")
                    for i, text in enumerate(_list(form.get("triggers"), f"{field}.triggers"))]
        tags = self._tags(form, field)
        marked = ""
        if (also := form.get("text_tokens")) is not None:
            choice = " | ".join(expression_of([piece]) for piece in _pieces(also, f"{field}.text_tokens"))
            marked = f"({self._rule(_TEXT)} ({choice}))* "
        rests: dict[tuple[str | int, ...], list[str]] = {}
        for i, (begin, rest) in enumerate(tags):
            trigger = next((pieces for pieces in triggers if _behind(begin, pieces) is not None), None)
            if trigger is None:
                raise RequestError(f"{field}.tags[{i}].begin", _shown(begin), expected="a text that begins with a "
                                   f"trigger: {', '.join(map(_shown, triggers))}")
            rests.setdefault(tuple(trigger), []).append(f"{expression_of(_behind(begin, trigger) or [])} {rest}")
        called = [self._rule(f"{marked}{self._until(trigger)} ({' | '.join(parts)})")
                  for trigger, parts in rests.items()]
        call = self._rule(" | ".join(called))
        first = self._rule(" | ".join(f"{expression_of(begin)} {rest}" for begin, rest in tags))
        free = self._rule(f"{marked}{self._rule(_TEXT)}")
        if form.get("stop_after_first"):
            return first if form.get("at_least_one") else self._rule(f"{call} | {free}")
        return f"{first} {call}* {free}" if form.get("at_least_one") else f"{call}* {free}"

    def _separated(self, form: dict[str, Any], field: str) -> str:
        tag = self._rule(" | ".join(f"{expression_of(begin)} {rest}" for begin, rest in self._tags(form, field)))
        separator = _literal(form.get("separator"), f"{field}.separator")
        several = tag if form.get("stop_after_first") else f"{tag} ({separator} {tag})*"
        return f"({several})" if form.get("at_least_one") else f"({several})?"

    def _tags(self, form: dict[str, Any], field: str) -> list[tuple[list[str | int], str]]:
        """(begin, the expression of what follows it) of each tag."""
        found = []
        for i, tag in enumerate(_list(form.get("tags"), f"{field}.tags")):
            place = f"{field}.tags[{i}]"
            if not isinstance(tag, dict):
                raise RequestError(place, tag, expected="{begin, content, end}")
            found.append((_pieces(tag.get("begin"), f"{place}.begin"), self._tag_rest(tag, place)))
        return found

    def _until(self, end: Sequence[str | int]) -> str:
        """Any text up to and including the first `end`."""
        if isinstance(end[0], int):
            return f"{self._rule(_TEXT)} {expression_of(end)}"
        lazy = self._rule(f"{_TEXT} {json.dumps(end[0])}", "[lazy]")
        return lazy if len(end) == 1 else f"{lazy} {expression_of(end[1:])}"

    def _read_rest(self, form: dict[str, Any], begun: str, field: str) -> str:
        """A format after its first text `begun`, which has been read."""
        return self._tag_rest(form, field) if form["type"] == "tag" else '""'


def _is_any_text(form: Any) -> bool:
    return isinstance(form, dict) and form.get("type") == "any_text" and not form.get("excludes")


def _first_text(form: Any) -> str:
    """The text that a constant or a tag begins with; "" for any other format."""
    name = {"const_string": "value", "tag": "begin"}.get(form.get("type", "") if isinstance(form, dict) else "")
    text = form.get(name) if name else ""
    return text if isinstance(text, str) else ""


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RequestError(field, value, expected="a list that is not empty")
    return value


def _text(value: Any, field: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or may_be_empty):
        raise RequestError(field, value, expected="a text" if may_be_empty else "a text that is not empty")
    return value


def _pieces(value: Any, field: str, *, may_be_empty: bool = False) -> list[str | int]:
    """A text as one piece; or a list of texts and token ids, as it is."""
    if isinstance(value, list) and value and all(type(piece) in (str, int) for piece in value):
        return value
    text = _text(value, field, may_be_empty=may_be_empty)
    return [text] if text else []


def _behind(begin: Sequence[str | int], trigger: Sequence[str | int]) -> list[str | int] | None:
    """What follows a trigger with which a begin begins; None if it does not."""
    first, last = begin[0], trigger[-1]
    if len(trigger) == 1 and isinstance(first, str) and isinstance(last, str) and first.startswith(last):
        rest = first.removeprefix(last)
        return [*([rest] if rest else []), *begin[1:]]
    return list(begin[len(trigger):]) if list(begin[: len(trigger)]) == list(trigger) else None


def _shown(pieces: Sequence[str | int]) -> str:
    return "".join(map(str, pieces))


def _literal(value: Any, field: str) -> str:
    return json.dumps(_text(value, field, may_be_empty=True))
