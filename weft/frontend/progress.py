"""`Progress`: the progress bar of `LLM.generate` and similar methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from weft.outputs import PoolingRequestOutput, RequestOutput


class Progress:
    """A context manager that counts finished requests and shows prompt and output tokens per second.

    use_tqdm: False shows nothing; a callable replaces `tqdm`.
    """

    def __init__(self, total: int, use_tqdm: bool | Callable[..., Any], description: str = "Processed prompts") -> None:
        make = use_tqdm if callable(use_tqdm) else tqdm
        self._bar = make(total=total, desc=description, dynamic_ncols=True) if use_tqdm else None
        self._start = time.monotonic()
        self._num_prompt_tokens = self._num_output_tokens = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def finished(self, output: RequestOutput | PoolingRequestOutput) -> None:
        """Count a finished request and its tokens."""
        if self._bar is None:
            return
        seconds = max(time.monotonic() - self._start, 1e-9)
        if isinstance(output, RequestOutput):
            self._num_prompt_tokens += output.num_prompt_tokens
            self._num_output_tokens += sum(len(answer.token_ids) for answer in output.outputs)
            answered = f", output {self._num_output_tokens / seconds:.1f} tok/s"
        else:
            self._num_prompt_tokens += len(output.prompt_token_ids)
            answered = ""
        self._bar.set_postfix_str(f"input {self._num_prompt_tokens / seconds:.1f} tok/s{answered}", refresh=False)
        self._bar.update(1)
