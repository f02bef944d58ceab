"""`IncrementalDetokenizer`: the text of one stream of tokens, piece by piece as the tokens come.

Starts from the tail of the prompt, so that the first generated word keeps its space and a character begun by the prompt
completes. Knows no stop strings (`stop.py`) and no engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from weft.text.tokenizer import Tokenizer

_NUM_TAIL_TOKENS = 16   # more than any character, and any pattern of spaces to clean up, can span


class IncrementalDetokenizer:
    """What generated tokens add to the text of a prompt.

    The pushes and the finish together are `decode(prompt + output)` without the beginning it shares with
    `decode(prompt)`. Costs the same for each token however long the prompt and the output are.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int], *, skip_special_tokens: bool = True,
                 spaces_between_special_tokens: bool = True) -> None:
        self._joiner = tokenizer.joiner(skip_special_tokens=skip_special_tokens,
                                        spaces_between_special_tokens=spaces_between_special_tokens)
        self._joiner.push(self._tail(tokenizer, prompt_token_ids))
        self._shown_by_prompt = self._joiner.peek()   # decode(prompt) ends with it, but more tokens may change it

    def push(self, token_ids: Sequence[int]) -> str:
        """The new text that is certain: no half character, nothing that a later token could change."""
        return self._beyond_prompt(self._joiner.push(token_ids))

    def finish(self) -> str:
        """What was held back; bytes that never became a character are U+FFFD."""
        return self._beyond_prompt(self._joiner.peek())

    def _tail(self, tokenizer: Tokenizer, prompt_token_ids: Sequence[int]) -> list[int]:
        """The last tokens of the prompt that have text; a run of byte tokens is not cut."""
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
