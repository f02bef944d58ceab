"""Compares decoding with and without a form of the answer, in turns, in one process.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/structured.py /tmp/qwen3-0.6b

`any text` allows nearly every token, `digits` few, `JSON strings` a list of texts of up to 40 characters. In none of
them is a token forced, so every token takes a step and the difference is the grammar's cost: the goal is at most 5 %.
The answers of `JSON object` have forced tokens, which take no steps. Values are medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import random
import statistics
from typing import Any

from weft import LLM, SamplingParams
from weft.cli.tables import print_table

FIRST_TOKEN_ID = 3      # below are the special tokens of make_checkpoint.py
PROMPT_LEN = 16
TEXT = {"type": "string", "minLength": 1, "maxLength": 40}
FORMS: dict[str, dict[str, Any]] = {
    "any text": {"regex": r"[^\x00]+"},
    "digits": {"regex": r"[0-9]+"},
    "JSON strings": {"json": {"type": "array", "items": TEXT, "minItems": 1000}},
    "JSON object": {"disable_any_whitespace": True, "json": {"type": "array", "minItems": 1000, "items": {
        "type": "object", "properties": {"first_name": TEXT, "description": TEXT, "quantity": {"type": "integer"}},
        "required": ["first_name", "description", "quantity"], "additionalProperties": False}}},
}


def main() -> None:
    """Measure and print."""
    options = parse_options()
    with LLM(options.model, use_tqdm_on_load=False, max_num_seqs=max(options.batches), num_threads=options.num_threads,
             max_model_len=PROMPT_LEN + options.output_len + 1) as llm:
        rows = [measure(llm, form, batch, options) for batch in options.batches for form in options.forms]
    print_table(("form", "sequences", "tokens/s without", "with", "cost", "tokens a step"), rows)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory, a hub id or a GGUF file")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="sequences (default: %(default)s)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="(default: all)")
    parser.add_argument("--output-len", type=int, default=64, help="tokens that are timed (default: %(default)s)")
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def measure(llm: LLM, name: str, batch: int, options: argparse.Namespace) -> tuple[str, ...]:
    """Measure one row."""
    seconds: tuple[list[float], list[float]] = ([], [])
    steps = [0, 0]
    for number in range(options.rounds + 1):                         # the first round compiles, and fills caches
        for which, form in enumerate((None, FORMS[name])):
            before = llm.stats.num_steps
            elapsed = generate(llm, form, batch, options.output_len)
            if number:
                seconds[which].append(elapsed)
                steps[which] += llm.stats.num_steps - before
    without, constrained = (statistics.median(times) for times in seconds)
    num_tokens = batch * (options.output_len - 1)
    return (name, f"{batch}", f"{num_tokens / without:.2f}", f"{num_tokens / constrained:.2f}",
            f"{(constrained / without - 1) * 100:+.1f} %", f"{steps[0] / steps[1]:.2f}")


def generate(llm: LLM, form: dict[str, Any] | None, batch: int, output_len: int) -> float:
    """Seconds from the first token of all answers to the last."""
    size, draw = llm.config.model.vocab_size, random.Random(1)
    prompts = [{"prompt_token_ids": draw.choices(range(FIRST_TOKEN_ID, size), k=PROMPT_LEN)} for _ in range(batch)]
    params = [SamplingParams(temperature=1.0, seed=i, max_tokens=output_len, ignore_eos=True, detokenize=False,
                             structured_outputs=form) for i in range(batch)]
    times = [output.metrics for output in llm.generate(prompts, params, use_tqdm=False)]
    elapsed = max(time.last_token_time for time in times) - max(time.first_token_time for time in times)
    return max(elapsed, 1e-9)      # forced tokens may all have come at once


if __name__ == "__main__":
    main()
