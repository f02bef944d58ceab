"""`StructuredOutputsParams`: the form that a request's answer must have. Names are vLLM's.

The constructor checks what needs no grammar: that exactly one form is given, with values of the right type.
`weft/grammar/` makes a grammar of it.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

import msgspec

from weft.compat.vllm.options.params import Accept, VllmParams
from weft.compat.vllm.options.structures import accept_structures
from weft.errors import RequestError
from weft.field_checks import check_flag, check_strings, check_text

FIELD = "structured_outputs"
_INNER = ("source", "reasoning")      # fields that no request gives
KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
MAX_DEPTH = 64                 # nesting of a JSON schema
MAX_TAG_DEPTH = 80             # nesting of a structural tag, whose schemas lie inside it


class ReasoningPart(msgspec.Struct, kw_only=True, frozen=True):
    """The reasoning before an answer's form.

    starts, ends: the marks, any of which stands before and behind it.
    is_open: the prompt has begun the reasoning. is_optional: an answer may have none; else it begins with a mark.
    """

    starts: tuple[str, ...]
    ends: tuple[str, ...]
    is_open: bool = False
    is_optional: bool = False


class StructuredOutputsParams(msgspec.Struct, metaclass=VllmParams, kw_only=True, omit_defaults=True):
    """The form of an answer: exactly one of the first six fields. A wrong value is a `RequestError`.

    Attributes:
        json: a JSON schema: a dictionary, a text, or a pydantic model class.
        regex: a regular expression that the whole answer matches. No look-around, no back-references.
        choice: the answer is one of these texts.
        grammar: a context-free grammar, in GBNF (EBNF with `::=`, rule `root`) or Lark's form (rule `start`).
        json_object: True: the answer is any JSON object.
        structural_tag: free text with tagged parts, as a dictionary or a text: {"triggers": [...], "structures":
            [{"begin", "schema", "end"}, ...]}, or {"format": {...}}.
        disable_any_whitespace: JSON without spaces and line ends between its tokens.
        disable_additional_properties: objects of a schema with `properties` have no others.
        whitespace_pattern: a regular expression of the spaces between JSON's tokens.
        source: the field of a request that errors name, where the form was not given as `structured_outputs`.
        reasoning: what stands before the form, free. None: the answer begins with the form. Chats set it.
    """

    json: Any = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: Any = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None
    source: str = ""
    reasoning: ReasoningPart | msgspec.UnsetType | None = msgspec.UNSET

    accept: ClassVar[Accept] = accept_structures

    def __post_init__(self) -> None:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise RequestError(self.source or FIELD, given, expected=f"exactly one of {', '.join(KINDS)}",
                               hint="Each describes the whole answer.")
        for name in ("regex", "grammar", "whitespace_pattern"):
            if getattr(self, name) is not None:
                _check_text(self.field(name), getattr(self, name))
        for name in ("disable_any_whitespace", "disable_additional_properties"):
            check_flag(self.field(name), getattr(self, name))
        if self.json_object is not None and self.json_object is not True:
            raise RequestError(self.field("json_object"), self.json_object, expected="True, or leave it out")
        if self.choice is not None:
            self.choice = _choices(self.field("choice"), self.choice)
        if self.json is not None:
            self.json = _json_value(self.field("json"), self.json, MAX_DEPTH)
            if not self.json:
                raise RequestError(self.field("json"), self.json, expected="a schema that is not empty",
                                   hint="Use json_object for any object.")
        if self.structural_tag is not None:
            self.structural_tag = _json_value(self.field("structural_tag"), self.structural_tag, MAX_TAG_DEPTH)

    def field(self, name: str) -> str:
        """The request's field that holds the field `name` of this object, for errors."""
        return self.source if self.source and name in KINDS else f"{FIELD}.{name}"

    @property
    def kind(self) -> str:
        """The given one of KINDS."""
        return next(name for name in KINDS if getattr(self, name) is not None)


def read_structures(value: Any, source: str = "") -> StructuredOutputsParams:
    """`value` as StructuredOutputsParams: the object itself, or the dictionary of its fields; `source` as there."""
    if isinstance(value, StructuredOutputsParams):
        return value
    if not isinstance(value, dict) or not all(isinstance(name, str) and name not in _INNER for name in value):
        raise RequestError(FIELD, value, expected="a StructuredOutputsParams, or a dictionary of its fields")
    try:
        return StructuredOutputsParams(**value, source=source)
    except TypeError as error:
        raise RequestError(FIELD, sorted(value), expected=f"fields of StructuredOutputsParams: {', '.join(KINDS)}, …",
                           hint=f"There is an {error}.") from error


def _check_text(field: str, value: Any) -> None:
    if not check_text(field, value):
        raise RequestError(field, value, expected="a text that is not empty")
    if "\0" in value:
        raise RequestError(field, value, expected="a text without the character NUL")


def _choices(field: str, value: Any) -> list[str]:
    choices = check_strings(field, value)
    if not choices:
        raise RequestError(field, value, expected="a list of texts that is not empty")
    return choices


def _json_value(field: str, value: Any, max_depth: int) -> dict[str, Any]:
    """A dictionary given as such, as a text or as a pydantic class; plain JSON, not nested too deep."""
    model_schema = getattr(value, "model_json_schema", None)
    if model_schema is not None:
        value = model_schema()
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True, allow_nan=False)
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(field, value, expected="JSON: a dictionary, or its text",
                           hint=str(error) or "It is nested too deep.") from error
    if not isinstance(found, dict):
        raise RequestError(field, value, expected="a JSON object")
    if _depth(found) > max_depth:
        raise RequestError(field, f"nested {_depth(found)} deep", expected=f"at most {max_depth} levels")
    return found


def _depth(value: Any) -> int:
    """How deep dictionaries and lists lie in one another; without recursion, as the value may be hostile."""
    deepest, level = 0, [value]
    while level := [inner for item in level for inner in
                    (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())]:
        deepest += 1
    return deepest
