"""What a GGUF file's metadata say about single tokens, for its config and its tokenizer alike.

Source: llama-vocab.cpp of github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

PREFIX = "tokenizer.ggml."
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5      # entries of `tokenizer.ggml.token_type`

# Tokens that end a text or a turn, and are control tokens, whatever type the file gives them: converters go by the
# token's `special` flag, and many fine-tunes added such tokens without it.
END_TOKENS = frozenset({"<|eot_id|>", "<|im_end|>", "<|end|>", "<|eom_id|>", "<end_of_turn>", "<EOT>", "<|endoftext|>",
                        "<|end_of_text|>"})
