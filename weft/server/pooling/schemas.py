"""The schemas of the pooling routes' bodies. `inputs.py` and `pairs.py` check texts, which have several shapes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from weft.compat.vllm.options.pooling_requests import CLASSIFY, COHERE, EMBEDDING, POOLING_BODY, RERANK, SCORE
from weft.config.whole_numbers import whole_numbers
from weft.server.errors import bad_field
from weft.server.openai.schemas import MAX_ID_CHARS, MAX_KEYS, Body, Identifier, Int, Messages, Object

Salt = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Encoding = Literal["float", "base64", "bytes", "bytes_only"]
Number = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
Endianness = Literal["native", "big", "little"]


class PoolingFields(Body):
    """Fields that all pooling routes have in common."""

    model: str | None = None
    truncate_prompt_tokens: Int | None = None
    truncation_side: str | None = None
    use_activation: bool | None = None
    priority: Int | None = None
    timeout: float | None = None
    keep_alive: float | Int | str | None = None
    request_id: Identifier | None = None
    cache_salt: Salt | None = None


class TextsBody(PoolingFields):
    """Texts as `input`, or one conversation as `messages`, which the chat template makes a text of."""

    input: Annotated[Any, BeforeValidator(whole_numbers)] = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None      # None: true for `input`; the template writes those of `messages`
    add_generation_prompt: bool = False
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)

    @property
    def tools(self) -> None:
        """Chat templates get none."""
        return


class VectorsBody(TextsBody):
    """Texts, and how their numbers are written."""

    encoding_format: Encoding = "float"
    embed_dtype: Number = "float32"
    endianness: Endianness = "native"
    dimensions: Int | None = None
    normalize: bool | None = None


class EmbeddingBody(VectorsBody):
    """POST /v1/embeddings."""

    needs: ClassVar = "embed"
    options: ClassVar = EMBEDDING


class PoolingBody(VectorsBody):
    """POST /pooling. task: null: what `LLM.encode` gives."""

    options: ClassVar = POOLING_BODY

    task: str | None = None
    softmax: bool | None = None
    activation: bool | None = None


class ClassifyBody(TextsBody):
    """POST /classify."""

    needs: ClassVar = "classify"
    options: ClassVar = CLASSIFY

    softmax: bool | None = None
    activation: bool | None = None


class PairsBody(PoolingFields):
    """How pairs of texts are read."""

    add_special_tokens: bool = True
    instruction: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: Object = Field(default_factory=dict)
    max_tokens_per_query: Int = 0
    max_tokens_per_doc: Int = 0
    softmax: bool | None = None
    activation: bool | None = None


class ScoreBody(PairsBody):
    """POST /score: two texts, one text and several, or two lists, under one of several pairs of names."""

    options: ClassVar = SCORE

    data_1: Any = None
    data_2: Any = None
    text_1: Any = None
    text_2: Any = None
    queries: Any = None
    documents: Any = None
    items: Any = None


class RerankBody(PairsBody):
    """POST /rerank: texts to rank by how well they fit a query."""

    options: ClassVar = RERANK

    query: Any
    documents: Any
    top_n: Int = 0
    return_documents: bool = True


class CohereBody(Body):
    """POST /v2/embed and /v1/embed."""

    needs: ClassVar = "embed"
    options: ClassVar = COHERE

    model: str | None = None
    texts: list[Any] | None = None
    inputs: list[Any] | None = None
    input_type: str | None = None
    embedding_types: Annotated[list[str], Field(max_length=MAX_KEYS)] | None = None
    output_dimension: Int | None = None
    truncate: Literal["NONE", "START", "END"] = "END"
    max_tokens: Int | None = None
    priority: Int | None = None
    timeout: float | None = None
    keep_alive: float | Int | str | None = None
    request_id: Identifier | None = None
    cache_salt: Salt | None = None

    @property
    def truncate_prompt_tokens(self) -> int | None:
        """The most tokens of a text; None: a longer text is an error."""
        if self.truncate == "NONE":
            return None
        return -1 if self.max_tokens is None else self.max_tokens

    @property
    def truncation_side(self) -> str:
        """Where a longer text is cut."""
        return "left" if self.truncate == "START" else "right"


def activation_of(body: PoolingFields) -> bool | None:
    """`use_activation` under today's or an older name. ApiError 400 for two that contradict each other."""
    given = {name: value for name in ("use_activation", "normalize", "softmax", "activation")
             if (value := getattr(body, name, None)) is not None}
    if len(set(given.values())) > 1:
        (first, _), (other, value) = list(given.items())[:2]
        raise bad_field(other, value, expected=f"the same as {first}", hint="They are names of one setting.")
    return next(iter(given.values()), None)
