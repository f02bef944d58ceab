"""The schemas of the OpenAI routes' request bodies, and the treatment of all other fields.

A field is of one of four kinds: a sampling field (checked by `SamplingParams`, as in Python), a field of a schema here,
another known field (`compat/vllm/options/requests.py` says which values are accepted), or an unknown one (ignored; a
response header names it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from weft.compat.vllm.options.requests import GENERATING, accept_field
from weft.compat.vllm.options.row import SAME, Option
from weft.config.whole_numbers import whole_numbers
from weft.sampling_extras import SamplingExtras
from weft.server.errors import ApiError, bad_field
from weft.server.openai.structures import form_of

MAX_PROMPTS = 1024
MAX_STOP_STRINGS = 4
MAX_ID_CHARS = 256
# Of what pydantic checks in one call that holds the interpreter's lock: 3 µs an object, 1 µs a key.
MAX_OBJECTS = 10_000      # in a list: messages, tools, documents
MAX_KEYS = 1_000          # of an object

# 4.0 is accepted as 4, because JSON has one number type.
Int = Annotated[int, BeforeValidator(whole_numbers), Field(ge=-(2**63), lt=2**63)]
# `logprobs` of /v1/completions. Chat clients send true and false, which mean 1 and null.
Count = Annotated[Int | None, BeforeValidator(lambda value: {True: 1, False: None}[value] if isinstance(value, bool)
                                              else value)]
Identifier = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS, pattern=r"^[\x21-\x7e]+$")]

Object = Annotated[dict[str, Any], Field(max_length=MAX_KEYS)]
Objects = Annotated[list[Object], Field(max_length=MAX_OBJECTS)]

# Fields that SamplingParams checks, under the same names.
SAMPLING = frozenset({
    "n", "presence_penalty", "frequency_penalty", "repetition_penalty", "temperature", "top_p", "top_k", "min_p",
    "seed", "stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens", "prompt_logprobs",
    "logit_bias", "allowed_token_ids", "bad_words", "skip_special_tokens", "spaces_between_special_tokens",
    "truncate_prompt_tokens", "truncation_side", "logprob_token_ids", "stream_interval", "best_of", "use_beam_search",
    "length_penalty", "early_stopping", "repetition_detection", "forced_bos_token",
    *SamplingExtras.__struct_fields__})

# Fields of SamplingParams that bodies do not have, because JSON answers hold no tensors.
_PYTHON_ONLY = ("extra_outputs",)


class Body(BaseModel):
    """A request's body. Types are strict: "1" is not a number, but 4.0 is the integer 4. null means absent.

    sampling_fields: fields that SamplingParams checks. sampling_defaults: of them, what the route takes where
    SamplingParams has another default. options: the states of all fields that the route knows.
    needs: the task that the model must have; None: the route looks itself, or any model will do.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, protected_namespaces=())
    sampling_fields: ClassVar[frozenset[str]] = frozenset()
    sampling_defaults: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Option]] = {}
    needs: ClassVar[str | None] = None


class StreamOptions(Body):
    """The `stream_options` object: whether a stream includes usage."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class GenerationBody(Body):
    """Fields that completions and chat have in common."""

    sampling_fields: ClassVar = SAMPLING
    options: ClassVar = GENERATING
    needs: ClassVar = "generate"

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    echo: bool = False
    priority: Int | None = None
    timeout: float | None = None
    keep_alive: float | Int | str | None = None
    request_id: Identifier | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool = False
    return_prompt_text: bool = False
    vllm_xargs: Object = Field(default_factory=dict)
    weft_xargs: Object = Field(default_factory=dict)
    cache_salt: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = None
    structured_outputs: Any = None      # these two are checked by `structures.py`
    response_format: Any = None


class CompletionBody(GenerationBody):
    """POST /v1/completions. `completions.py` checks `prompt` and `prompt_embeds`, which have several shapes."""

    prompt: Annotated[Any, BeforeValidator(whole_numbers)] = None
    prompt_embeds: Any = None
    max_tokens: Int = 16
    logprobs: Count = None
    suffix: str | None = None
    add_special_tokens: bool = True


Messages = Annotated[Objects, Field(min_length=1)]


class ConversationBody(GenerationBody):
    """Fields that one conversation and several of them have in common."""

    max_tokens: Int | None = None
    max_completion_tokens: Int | None = None
    logprobs: bool = False
    top_logprobs: Int | None = None
    tools: Annotated[Objects, Field(min_length=1)] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    include_reasoning: bool = True
    thinking_token_budget: Int | None = None
    reasoning_effort: str | None = None
    documents: Objects | None = None
    chat_template: str | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False


class ChatBody(ConversationBody):
    """POST /v1/chat/completions. `text/chat.py` checks the messages."""

    messages: Messages


def _few_in_all(conversations: Any) -> Any:
    if isinstance(conversations, list):
        count = sum(len(messages) for messages in conversations if isinstance(messages, list))
        if count > MAX_OBJECTS:
            raise PydanticCustomError("too_long", "", {"max_length": MAX_OBJECTS})
    return conversations


class BatchChatBody(ConversationBody):
    """POST /v1/chat/completions/batch: several conversations, which have all other fields in common."""

    messages: Annotated[list[Messages], BeforeValidator(_few_in_all), Field(min_length=1, max_length=MAX_PROMPTS)]


class TokenizeBody(Body):
    """POST /tokenize: a prompt, or messages to render as a chat does."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool = False
    tools: Objects | None = None
    chat_template: str | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
    add_generation_prompt: bool = True
    continue_final_message: bool = False


class DetokenizeBody(Body):
    """POST /detokenize."""

    model: str | None = None
    tokens: Annotated[list[Int], FailFast()]


B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Parsed(Generic[B]):
    """A parsed body. sampling: the given sampling fields. ignored: the names of unknown fields."""

    body: B
    sampling: dict[str, Any]
    ignored: tuple[str, ...]


def parse(schema: type[B], data: dict[str, Any]) -> Parsed[B]:
    """Parses `data` by `schema`. ApiError 400 names the first wrong field; NotBuiltError for a field without code."""
    if len(data) > MAX_KEYS:
        raise ApiError(400, f"The request's body has {len(data)} fields: expected at most {MAX_KEYS}.")
    given = {name: value for name, value in data.items() if value is not None}
    if schema.sampling_fields:
        _refuse_python_only(given)
    for name in given.keys() & _unread(schema):
        accept_field(schema.options, name, whole_numbers(given[name]))
    try:
        body = schema.model_validate(given)
    except ValidationError as error:
        raise _field_error(error.errors(include_url=False)) from None
    sampling = {name: whole_numbers(given[name]) for name in schema.sampling_fields & given.keys()}
    ignored = tuple(sorted(_names(schema, given) - known_fields(schema)))
    _check_stop(sampling.get("stop"))
    if not isinstance(body, GenerationBody):
        return Parsed(body, sampling, ignored)
    if (form := form_of(given)) is not None:
        sampling["structured_outputs"] = form
    if extra := body.vllm_xargs | body.weft_xargs:
        sampling["extra_args"] = extra
    return Parsed(body, sampling, ignored)


@cache
def known_fields(schema: type[Body]) -> frozenset[str]:
    """All names that a body of this schema may have, with or without effect; those in objects as `object.name`."""
    inner = {f"{name}.{field}" for name, objects in _objects(schema).items() for field in objects.model_fields}
    return frozenset(schema.model_fields) | schema.sampling_fields | _unread(schema) | inner


@cache
def _objects(schema: type[Body]) -> dict[str, type[Body]]:
    """{field: schema} of the fields that are objects with a schema of their own."""
    found = {}
    for name, field in schema.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, Body):
                found[name] = kind
    return found


def _names(schema: type[Body], given: dict[str, Any]) -> set[str]:
    """The given names, those in objects too."""
    return {*given, *(f"{name}.{field}" for name in _objects(schema) for field, value in (given.get(name) or {}).items()
                      if value is not None)}


@cache
def _unread(schema: type[Body]) -> frozenset[str]:
    """Known fields that no code reads."""
    return frozenset(name for name, option in schema.options.items() if option.state != SAME) - set(
        schema.model_fields)


def _refuse_python_only(given: dict[str, Any]) -> None:
    for name in _PYTHON_ONLY:
        if name in given:
            raise bad_field(name, given[name], expected="null",
                            hint=f"The server's answers hold no tensors: use SamplingParams({name}=...) in Python.")


def _check_stop(stop: Any) -> None:
    if isinstance(stop, list) and len(stop) > MAX_STOP_STRINGS:
        raise bad_field("stop", len(stop), expected=f"at most {MAX_STOP_STRINGS} strings")


def _field_error(errors: list[ErrorDetails]) -> ApiError:
    """The error for the first wrong field. A field of several types has an error for each of them."""
    path = _path(errors[0])
    if errors[0]["type"] == "missing":
        return ApiError(400, f"{path} is missing.", path)
    expected = dict.fromkeys(_expected(error) for error in errors if _path(error) == path)
    return bad_field(path, errors[0]["input"], expected=" or ".join(expected))


def _path(error: ErrorDetails) -> str:
    """The field's path, without the types that pydantic puts into it where a field may have several."""
    return ".".join(str(part) for part in error["loc"] if part != "str" and "[" not in str(part))


def _expected(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    names = {"string_type": "a string", "bool_type": "true or false", "int_type": "an integer",
             "int_from_float": "an integer", "list_type": "a list", "dict_type": "an object",
             "model_type": "an object", "model_attributes_type": "an object",
             "greater_than_equal": "an integer of 64 bits", "less_than": "an integer of 64 bits",
             "int_parsing_size": "an integer of 64 bits", "string_too_short": "a string that is not empty",
             "too_short": f"at least {context.get('min_length')} entries",
             "too_long": f"at most {context.get('max_length')} entries",
             "string_too_long": f"at most {context.get('max_length')} characters",
             "literal_error": context.get("expected", ""),
             "string_pattern_mismatch": "printable ASCII characters without spaces"}
    return names.get(error["type"], error["msg"])
