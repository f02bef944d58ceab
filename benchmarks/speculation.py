"""Compares decoding one sequence with and without n-gram speculation, in turns, in one process.

    python benchmarks/make_checkpoint.py qwen3-0.6b /tmp/qwen3-0.6b
    python benchmarks/speculation.py /tmp/qwen3-0.6b

Rows: a text that repeats itself (a model with random weights soon repeats itself under greedy decoding; such an answer
is the context, and is continued), and texts without repetition (sampled at temperature 1) after a short and a long
context. The goals: 1.8 times the speed for a repeating text, less than 3 % slower without repetition. `tokens a step`
tells how many drafts were accepted; from it follows the cost of a step that verifies drafts, compared with a plain
decode step. Values are medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from weft import LLM, SamplingParams
from weft.cli.tables import print_table
from weft.engine.process.messages import EngineRequest
from weft.engine.sequence import Sequence
from weft.engine.speculation.ngram import NgramProposer

FIRST_TOKEN_ID = 3      # below are the special tokens of make_checkpoint.py
LOOKUPS = 200


def main() -> None:
    """Measure and print."""
    options = parse_options()
    config = {"method": "ngram", "num_speculative_tokens": options.num_drafts, "prompt_lookup_max": options.lookup_max}
    common = {"use_tqdm_on_load": False, "max_num_seqs": 1, "num_threads": options.num_threads,
              "max_model_len": max(options.contexts) + 2 * options.output_len + 8}
    plain, drafting = LLM(options.model, **common), LLM(options.model, speculative_config=config, **common)
    engines = (plain, drafting)
    repeating = context(plain, options.contexts[0])
    greedy = SamplingParams(temperature=0, max_tokens=options.output_len, ignore_eos=True, detokenize=False)
    repeating += generate(plain, repeating, greedy)[0]
    cases = [("repeats itself", repeating, 0.0)]
    cases += [("nothing repeats", context(plain, length), 1.0) for length in options.contexts]
    rows = [measure(title, tokens, temperature, engines, options) for title, tokens, temperature in cases]
    print_table(("text", "context", "tokens/s without", "with", "ratio", "tokens a step", "step / decode"), rows)
    for length in options.contexts:
        print(f"a lookup in {length} tokens: {lookup_seconds(context(plain, length), options) * 1e6:.0f} us")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory, a hub id or a GGUF file")
    parser.add_argument("--contexts", type=int, nargs="+", default=[512, 16384], help="tokens (default: %(default)s)")
    parser.add_argument("--output-len", type=int, default=128, help="tokens that are timed (default: %(default)s)")
    parser.add_argument("--num-drafts", type=int, default=5)
    parser.add_argument("--lookup-max", type=int, default=4)
    parser.add_argument("--num-threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def context(llm: LLM, length: int) -> list[int]:
    """Random token ids."""
    return random.Random(length).choices(range(FIRST_TOKEN_ID, llm.config.model.vocab_size), k=length)


def generate(llm: LLM, tokens: list[int], params: SamplingParams) -> tuple[list[int], float]:
    """(the new tokens, seconds from the first of them to the last)."""
    [output] = llm.generate([{"prompt_token_ids": tokens}], params, use_tqdm=False)
    times = output.metrics
    return output.outputs[0].token_ids, times.last_token_time - times.first_token_time


def measure(title: str, tokens: list[int], temperature: float, engines: tuple[LLM, LLM],
            options: argparse.Namespace) -> tuple[str, ...]:
    """Measure one row. AssertionError if the answers with and without speculation differ."""
    params = SamplingParams(temperature=temperature, seed=1, max_tokens=options.output_len, ignore_eos=True,
                            detokenize=False)
    answers = [generate(llm, tokens, params)[0] for llm in engines]          # fills the prefix cache
    assert answers[0] == answers[1], f"{title}: speculation changes the answer"
    seconds: tuple[list[float], list[float]] = ([], [])
    before = [llm.stats.num_steps for llm in engines]
    for _ in range(options.rounds):
        for llm, times in zip(engines, seconds, strict=True):
            times.append(generate(llm, tokens, params)[1])
    steps = [llm.stats.num_steps - count for llm, count in zip(engines, before, strict=True)]
    without, drafted = (statistics.median(times) for times in seconds)
    num_decoded, num_steps = options.output_len - 1, steps[1] / options.rounds - 1       # the first is the prompt's
    ratio = without / drafted
    return (title, f"{len(tokens)}", f"{num_decoded / without:.2f}", f"{num_decoded / drafted:.2f}", f"{ratio:.2f}",
            f"{num_decoded / num_steps:.2f}", f"{num_decoded / num_steps / ratio:.2f}")


def lookup_seconds(tokens: list[int], options: argparse.Namespace) -> float:
    """Seconds of one lookup, while the text grows by a token before each."""
    proposer = NgramProposer(options.num_drafts, options.lookup_max, options.lookup_max)
    seq = Sequence(EngineRequest(request_id="", prompt_token_ids=tokens, eos_token_ids=[], arrival_time=0.0,
                                 params=SamplingParams(max_tokens=LOOKUPS)))
    proposer.propose([seq])
    start = time.perf_counter()
    for token_id in range(LOOKUPS):
        seq.token_ids.append(token_id)
        proposer.propose([seq])
    return (time.perf_counter() - start) / LOOKUPS


if __name__ == "__main__":
    main()
