"""Fields of HTTP bodies that vLLM's pooling routes read: embeddings, pooling, classify, score and rerank; and Cohere's.

A row without `versions` is a field of other servers' APIs (Jina's, Cohere's), or one of a route whose history vLLM's
releases do not tell apart.
"""

from __future__ import annotations

from weft.compat.vllm.options.row import NO_EFFECT, NOT_YET, REFUSED, SAME, Option, table

_TEXT = "weft pools text only."
_RECORDS = "weft keeps no records of requests"

_COMMON = (
    Option("model", "0.6+", SAME),
    Option("user", "0.6+", NO_EFFECT, say=_RECORDS),
    Option("truncate_prompt_tokens", "0.6+", SAME, say="special tokens around a text stay; -1: what the model takes"),
    Option("truncation_side", "0.18+", SAME, say="left or right (default: right)"),
    Option("priority", "0.6+", SAME),
    Option("request_id", "0.10+", SAME),
    Option("use_activation", "0.18+", SAME),
    Option("cache_salt", "0.18+", SAME),
    Option("mm_processor_kwargs", "0.8+", REFUSED, off=({},), say=_TEXT),
    Option("media_io_kwargs", "0.18+", REFUSED, off=({},), say=_TEXT),
    Option("padding", "0.30+", NO_EFFECT, say="weft computes no padding"),
    Option("additional_data", "0.6-0.9", REFUSED, say=NOT_YET),
)
_TEXTS = (
    Option("input", "0.6+", SAME),
    Option("messages", "0.6+", SAME),
    Option("add_special_tokens", "0.6+", SAME),
    Option("add_generation_prompt", "0.10+", SAME),
    Option("continue_final_message", "0.14+", SAME),
    Option("chat_template", "0.6+", SAME, say="only with `--trust-request-chat-template`"),
    Option("chat_template_kwargs", "0.6+", SAME),
)
_NUMBERS = (
    Option("encoding_format", "0.6+", SAME, say="bytes: the numbers alone, described by the header `metadata`; "
           "bytes_only: without that header"),
    Option("dimensions", "0.6+", SAME, say="the first numbers of each vector"),
    Option("normalize", "0.10-0.14", SAME, say="an older name of `use_activation`"),
    Option("embed_dtype", "0.11+", SAME, say="of base64 and bytes"),
    Option("endianness", "0.11+", SAME, say="of base64 and bytes"),
)

EMBEDDING = table(_COMMON, _TEXTS, _NUMBERS)
POOLING_BODY = table(_COMMON, _TEXTS, _NUMBERS, (
    Option("task", "0.11+", SAME, say="embed, token_embed, classify or token_classify, as the model has them"),
    Option("softmax", "", SAME, say="an older name of `use_activation`"),
    Option("activation", "", SAME, say="an older name of `use_activation`"),
    Option("data", "", REFUSED, say="weft has no plugins for other data."),
))
CLASSIFY = table(_COMMON, _TEXTS, (
    Option("softmax", "", SAME, say="an older name of `use_activation`"),
    Option("activation", "", SAME, say="an older name of `use_activation`"),
))
_PAIRS = (
    Option("instruction", "", SAME, say="the first message (role system) of what a template of pairs reads"),
    Option("chat_template", "", SAME, say="how a pair is written for a classifier, of messages with the roles query and"
           " document (with `--trust-request-chat-template`); null: as `--chat-template` says, or the tokenizer"),
    Option("chat_template_kwargs", "", SAME, say="more variables of the template"),
    Option("max_tokens_per_query", "", SAME, say="tokens of a first text that are kept; 0: all"),
    Option("max_tokens_per_doc", "", SAME, say="tokens of a second text that are kept; 0: all"),
    Option("add_special_tokens", "", SAME),
    Option("softmax", "", SAME, say="an older name of `use_activation`"),
    Option("activation", "", SAME, say="an older name of `use_activation`"),
)
SCORE = table(_COMMON, _PAIRS, (
    Option("data_1", "", SAME, say="a text or a list of texts"),
    Option("data_2", "", SAME, say="a text or a list of texts"),
    Option("text_1", "", SAME, say="an older name of `data_1`"),
    Option("text_2", "", SAME, say="an older name of `data_2`"),
    Option("queries", "", SAME, say="as `data_1`"),
    Option("documents", "", SAME, say="as `data_2`"),
    Option("items", "", SAME, say="as `data_2`"),
))
RERANK = table(_COMMON, _PAIRS, (
    Option("query", "", SAME),
    Option("documents", "", SAME, say='texts, or objects `{"text": …}`'),
    Option("top_n", "", SAME, say="how many of the best; 0: all"),
    Option("return_documents", "", SAME, say="false: places and scores only"),
    Option("rank_fields", "", REFUSED, off=(["text"],), say="Documents have one text."),
    Option("max_chunks_per_doc", "", NO_EFFECT, say="a document is read once, cut to the model's length if asked"),
))
COHERE = table((
    Option("model", "", SAME),
    Option("texts", "", SAME),
    Option("inputs", "", SAME, say='objects `{"content": [{"type": "text", "text": …}]}`'),
    Option("input_type", "", SAME, say="the model's prompt of that name (config_sentence_transformers.json) comes "
           "before each text; search_query also means the prompt `query`, search_document `document` and `passage`"),
    Option("embedding_types", "", SAME, say="float, int8, uint8, binary, ubinary, base64"),
    Option("output_dimension", "", SAME, say="`dimensions` of `/v1/embeddings`"),
    Option("truncate", "", SAME, say="END, START, or NONE: a text that is too long is an error"),
    Option("max_tokens", "", SAME, say="of each text; the others are cut off"),
    Option("priority", "", SAME),
    Option("request_id", "", SAME),
    Option("cache_salt", "", SAME),
    Option("images", "", REFUSED, off=([],), say=_TEXT),
))
