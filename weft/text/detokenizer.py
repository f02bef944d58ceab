"""`IncrementalDetokenizer`: decodes one stream of tokens to text, as the tokens arrive.

It starts from the tail of the prompt, so that the first generated word keeps its space and a character begun in the
prompt is completed. Knows no stop strings (`stop.py`) and no engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.tokenizer import Tokenizer

_NUM_TAIL_TOKENS = 16   # more tokens than any character, and any pattern of `Cleanup`, can span


class IncrementalDetokenizer:
    """The text that generated tokens add to a prompt.

    All results of `push` and `finish` joined are `decode(prompt + output)` without the prefix that it shares with
    `decode(prompt)`. The cost of a token does not depend on the lengths of prompt and output.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int], *, skip_special_tokens: bool = True,
                 spaces_between_special_tokens: bool = True) -> None:
        self._joiner = tokenizer.joiner(skip_special_tokens=skip_special_tokens,
                                        spaces_between_special_tokens=spaces_between_special_tokens)
        self._joiner.push(self._tail(tokenizer, prompt_token_ids))
        self._shown_by_prompt = self._joiner.peek()   # the end of decode(prompt), which more tokens may change

    def push(self, token_ids: Sequence[int]) -> str:
        """The new text that is certain: no half character, nothing that a later token could change."""
        return self._beyond_prompt(self._joiner.push(token_ids))

    def finish(self) -> str:
        """The text that was held back; bytes that never became a character are U+FFFD."""
        return self._beyond_prompt(self._joiner.peek())

    def _tail(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int]) -> list[int]:
        """The last tokens of the prompt that have text, without cutting a run of byte tokens."""
        tail: list[int] = []
        for token_id in reversed(prompt_token_ids):
            if len(tail) >= _NUM_TAIL_TOKENS and tokenizer.pieces.byte(tail[-1]) is None:
                break
            if self._joiner.is_shown(token_id):
                tail.append(token_id)
        return tail[::-1]

    def _beyond_prompt(self, text: str) -> str:
        shown = self._shown_by_prompt
        if not shown or not text:
            return text
        pairs = enumerate(zip(shown, text, strict=False))
        num_same = next((i for i, (old, new) in pairs if old != new), min(len(shown), len(text)))
        self._shown_by_prompt = shown[num_same:] if num_same == len(text) else ""
        return text[num_same:]
