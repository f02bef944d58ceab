"""The special tokens in a GGUF file's metadata, for its config and its tokenizer.

Source: llama-vocab.cpp of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5      # entries of `tokenizer.ggml.token_type`

# Tokens that end a text or a turn. They are control tokens whatever type the file gives them: converters take the type
# from the token's `special` flag, and many fine-tunes added such tokens without the flag.
END_TOKENS = frozenset({"<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<end_of_turn>", "<EOT>", "<|endoftext|>",
                        "<|end_of_text|>"})


def special_ids(metadata: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """{config key: (its value, metadata key)} of special token ids.

    Every id that ends a text or a turn counts as eos; other ids outside the vocabulary are left out.
    """
    found: dict[str, tuple[Any, str]] = {}
    ends = [metadata.get(f"{PREFIX}{name}_token_id") for name in ("eos", "eot", "eom")]
    texts = metadata.get(f"{PREFIX}tokens")
    if isinstance(texts, list):
        ends += [i for i, text in enumerate(texts) if text in END_TOKENS]
    ids = list(dict.fromkeys(i for i in ends if isinstance(i, int)))
    if ids:
        found["eos_token_id"] = ids, f"{PREFIX}eos_token_id and the like"
    for name, key in (("bos", "bos_token_id"), ("padding", "pad_token_id")):
        value = metadata.get(f"{PREFIX}{name}_token_id")
        if isinstance(value, int) and (not isinstance(texts, list) or 0 <= value < len(texts)):
            found[key] = value, f"{PREFIX}{name}_token_id"
    return found
