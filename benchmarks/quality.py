"""Compares what quantization costs: the loss of the embedded model on text that it never saw, and its held-out sums.

    python benchmarks/quality.py

Each row is one way to hold weights and to multiply them. `loss` is the mean of -log p over all tokens of documents that
are drawn as the training text was, with a seed that training did not use (tools/embedded_data.py), users' words left
out; `above floats` is the difference from the first row. `sums` is the share of additions that training left out and
the model answers rightly. w8a8 has activations of 8 bits with a scale for each token, w4a8 for each block of a token.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from weft import LLM, SamplingParams
from weft.cli.tables import print_table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from embedded_data import make_document  # noqa: E402  (the tools are no package)

WAYS: dict[str, dict[str, str]] = {
    "bfloat16": {}, "int8": {"quantization": "int8"}, "w8a8": {"quantization": "w8a8"},
    "int4": {"quantization": "int4"}, "w4a8": {"quantization": "w4a8"}}
SUM_SHARE = 0.3               # of the documents
SEED = 2**31 - 1               # training drew its documents with small seeds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--sums", type=int, default=300)
    options = parser.parse_args()
    generator = random.Random(SEED)
    documents = [make_document(generator, SUM_SHARE) for _ in range(options.documents)]
    pairs = json.loads((ROOT / "tests/embedded/held_out_sums.json").read_text())
    pairs = random.Random(SEED).sample(pairs, min(options.sums, len(pairs)))
    rows, floats = [], None
    for name, way in WAYS.items():
        with LLM(use_tqdm_on_load=False, **way) as llm:
            found, right = loss(llm, documents), sums_right(llm, pairs)
        floats = found if floats is None else floats
        rows.append((name, f"{found:.4f}", f"{found - floats:+.4f}", f"{right:.1%}"))
    title = f"{len(documents)} documents, {len(pairs)} sums"
    print_table(("weights", "loss", "above floats", "sums"), rows, title=title)


def loss(llm: LLM, documents: list[list[tuple[str, float]]]) -> float:
    """Mean -log p of the tokens that training learned."""
    tokenizer, prompts, learned = llm.get_tokenizer(), [], []
    for document in documents:
        ids, weights = [], []
        for text, weight in document:
            piece = tokenizer.encode(text, add_special_tokens=False)
            ids += piece
            weights += [weight > 0] * len(piece)
        prompts.append({"prompt_token_ids": ids})
        learned.append(weights)
    outputs = llm.generate(prompts, SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False), use_tqdm=False)
    losses = []
    for output, weights in zip(outputs, learned, strict=True):
        tokens = zip(output.prompt_logprobs, output.prompt_token_ids, weights, strict=True)
        losses += [-logprobs[token].logprob for logprobs, token, is_learned in tokens if logprobs and is_learned]
    return sum(losses) / len(losses)


def sums_right(llm: LLM, pairs: list[list[int]]) -> float:
    """The share of right answers, each in a chat of its own."""
    chats = [[{"role": "user", "content": f"What is {a} + {b}?"}] for a, b in pairs]
    outputs = llm.chat(chats, SamplingParams(temperature=0, max_tokens=24), use_tqdm=False)
    return sum(str(a + b) in output.outputs[0].text.rstrip(".").split()[-1:]
               for (a, b), output in zip(pairs, outputs, strict=True)) / len(pairs)


if __name__ == "__main__":
    main()
