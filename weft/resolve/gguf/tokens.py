"""Constants for the tokens in a GGUF file's metadata, shared by its config and its tokenizer.

Source: llama-vocab.cpp of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5      # entries of `tokenizer.ggml.token_type`

# Tokens that end a text or a turn. They are control tokens whatever type the file gives them: converters take the type
# from the token's `special` flag, and many fine-tunes added such tokens without the flag.
END_TOKENS = frozenset({"<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<end_of_turn>", "<EOT>", "<|endoftext|>",
                        "<|end_of_text|>"})
