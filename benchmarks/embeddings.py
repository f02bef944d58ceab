"""Compares embeddings of weft with those of sentence-transformers, ONNX Runtime and OpenVINO: the same texts, in turns.

    pip install sentence-transformers openvino onnxruntime onnx onnxscript
    python benchmarks/embeddings.py MODEL --num-texts 1000

MODEL: a directory of sentence-transformers whose vectors are pooled by CLS or mean. Texts are made (`--corpus made`):
words of ten languages, lengths as in a corpus (many short ones, few of the longest); or `--corpus found`: paragraphs of
licenses and translated messages of this machine. All engines get the same texts and threads;
each is asked once before the clock runs, then `--rounds` times in turns. A peer whose package is missing is left out.

The first table has the texts a second, medians of the rounds, and the ratio of weft's rate to each peer's; the fraction
of the machine's product rate counts matrix products of real tokens only. The second compares the vectors with those of
sentence-transformers in float32: the least and mean cosine, and how many of the ten nearest texts of each text are
those of float32. `--check` ends with 1 if a vector of weft is further away than GOALS allows. Its nearest texts must
be the same in float32, where two scores may change places that differ by less than TIE.

    python benchmarks/embeddings.py MODEL --corpus found --peers sentence-transformers --rounds 0 --check
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from found_texts import found_texts
from machine import measure_apart, print_bounds
from torch import nn

from weft import LLM
from weft.cli.tables import print_table
from weft.config.machine import Machine

WORDS = ("the cat sat on a mat while rain fell over hills and rivers der alte Mann ging über die Brücke nach Hause "
         "la vie est belle aujourd'hui mais demain il pleut el perro corre por la casa vieja con su dueño o gato dorme "
         "il mare calmo данные модели и быстро растут деревья 猫 が 好き です 東京 の 天気 数据 模型 很 快 학교 에 "
         "간다 مرحبا بالعالم").split()
MEDIAN_WORDS, SPREAD = 24, 1.0       # of the lengths, which are log-normal
NEAREST = 10
BATCH = 32
GOALS = {"float32": 0.99999, "bfloat16": 0.9995}      # the least cosine beside sentence-transformers in float32
TIE = 1e-6
Embed = Callable[[Sequence[str]], np.ndarray]      # texts -> [number of texts, E] float32, each of length 1


@dataclass(frozen=True, slots=True)
class Corpus:
    """The texts, their tokens, and the operations of their matrix products and attention."""

    texts: list[str]
    num_tokens: int
    operations: float


def main() -> None:
    """Measure and print."""
    options = parse_options()
    torch.set_num_threads(options.num_threads)
    model = sentence_transformer(options.model)
    make = found_texts if options.corpus == "found" else make_texts
    corpus = make_corpus(model, make(options.num_texts, options.seed))
    engines = {f"weft {dtype}": weft(options, dtype) for dtype in options.dtypes}
    engines |= {name: make(model, options) for name, make in PEERS.items() if name in options.peers and is_here(name)}
    seconds, vectors = in_turns(engines, corpus.texts, options.rounds)
    if options.rounds:
        print_speed(corpus, seconds, options)
    exact = vectors.get("sentence-transformers")
    if exact is not None:
        print_table(("engine", "least cosine", "mean cosine", f"same {NEAREST} nearest"),
                    [(name, *quality(exact, found)) for name, found in vectors.items()],
                    right=("least cosine", "mean cosine", f"same {NEAREST} nearest"),
                    title=f"{len(corpus.texts)} texts beside float32")
    if options.check:
        faults = faults_of(exact, vectors)
        print("\n".join(faults) or "all goals are reached")
        raise SystemExit(bool(faults))


def print_speed(corpus: Corpus, seconds: dict[str, float], options: argparse.Namespace) -> None:
    """The first table."""
    bounds = measure_apart(options.num_threads)
    print_bounds(bounds)
    own = min(seconds[name] for name in seconds if name.startswith("weft"))
    print_table(("engine", "texts/s", "tokens/s", "weft is faster by", "of the product rate"), [
        (name, f"{len(corpus.texts) / s:,.1f}", f"{corpus.num_tokens / s:,.0f}", f"{s / own:.2f}",
         f"{corpus.operations / s / max(bounds.bfloat16, bounds.float32):.2f}") for name, s in seconds.items()],
        right=("texts/s", "tokens/s", "weft is faster by", "of the product rate"),
        title=f"{len(corpus.texts)} texts, {corpus.num_tokens} tokens, {options.num_threads} threads")


def faults_of(exact: np.ndarray | None, vectors: dict[str, np.ndarray]) -> list[str]:
    """A sentence for each goal that weft misses."""
    if exact is None:
        return ["there are no vectors of sentence-transformers to compare with"]
    faults = []
    for dtype, goal in GOALS.items():
        found = vectors.get(f"weft {dtype}")
        least = 1.0 if found is None else (exact * found).sum(axis=1).min()
        if least < goal:
            faults.append(f"{dtype}: the least cosine is {least:.6f}, the goal {goal}")
    if "weft float32" in vectors and (moved := num_moved(exact, vectors["weft float32"])):
        faults.append(f"float32: {moved} texts have other nearest ones")
    return faults


def num_moved(exact: np.ndarray, found: np.ndarray) -> int:
    """Texts of which one of the nearest in `found` is, in `exact`, further away than the last of the nearest there."""
    scores = exact @ exact.T
    last = np.take_along_axis(scores, nearest(exact), axis=1).min(axis=1)
    least = np.take_along_axis(scores, nearest(found), axis=1).min(axis=1)
    return int((least < last - TIE).sum())


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--corpus", choices=("made", "found"), default="made")
    parser.add_argument("--check", action="store_true", help="end with 1 if weft's vectors miss a goal")
    parser.add_argument("--num-texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="of weft")
    parser.add_argument("--quantization", help="of weft")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--num-threads", type=int, default=Machine.detect().num_cores.value)
    return parser.parse_args()


def make_texts(num_texts: int, seed: int) -> list[str]:
    """Texts of 4 words and more."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=max(4, int(MEDIAN_WORDS * draw.lognormvariate(0, SPREAD)))))
            for _ in range(num_texts)]


def make_corpus(model: Any, texts: list[str]) -> Corpus:
    """Texts with what they cost, up to the model's longest."""
    lengths = [min(len(ids), model.max_seq_length) for ids in model.tokenizer(texts)["input_ids"]]
    body, config = model[0].auto_model, model[0].auto_model.config
    weights = sum(m.in_features * m.out_features for name, m in body.named_modules()
                  if isinstance(m, nn.Linear) and "pooler" not in name)
    attention = 4 * config.hidden_size * config.num_hidden_layers * sum(n * n for n in lengths)
    return Corpus(texts, sum(lengths), 2.0 * weights * sum(lengths) + attention)


def in_turns(engines: dict[str, Embed], texts: Sequence[str], rounds: int
             ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """({engine: median seconds}, {engine: vectors})."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    vectors = {name: embed(texts) for name, embed in engines.items()}
    for _ in range(rounds):
        for name, embed in engines.items():
            start = time.perf_counter()
            embed(texts)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found or [0.0]) for name, found in times.items()}, vectors


def quality(exact: np.ndarray, found: np.ndarray) -> tuple[str, str, str]:
    """The last three columns of the second table."""
    cosines = (exact * found).sum(axis=1)
    same = np.mean([len(set(a) & set(b)) / NEAREST for a, b in zip(nearest(exact), nearest(found), strict=True)])
    return f"{cosines.min():.6f}", f"{cosines.mean():.6f}", f"{same:.4f}"


def nearest(vectors: np.ndarray) -> np.ndarray:
    """[N, 10]: the texts that are nearest to each one, without itself."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :NEAREST]


def weft(options: argparse.Namespace, dtype: str) -> Embed:
    """weft's LLM.embed."""
    llm = LLM(str(options.model), dtype=dtype, quantization=options.quantization, num_threads=options.num_threads)

    def embed(texts: Sequence[str]) -> np.ndarray:
        found = llm.embed(list(texts), use_tqdm=False, tokenization_kwargs={"truncate_prompt_tokens": -1})
        return np.array([output.outputs.embedding for output in found], dtype=np.float32)

    return embed


def sentence_transformer(path: Path) -> Any:
    """The model in sentence-transformers, which also tells lengths and sizes."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32})


def torch_peer(model: Any, options: argparse.Namespace) -> Embed:
    """sentence-transformers as its documentation calls it."""
    return lambda texts: model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True)


def batched(model: Any, states_of: Callable[[dict[str, np.ndarray]], np.ndarray]) -> Embed:
    """Sorted by length into padded batches, as FastEmbed and sentence-transformers do; pooled by the model's rule."""
    is_mean = bool(getattr(model[1], "pooling_mode_mean_tokens", "mean" in str(getattr(model[1], "pooling_mode", ""))))

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, np.ndarray] = {}
        for first in range(0, len(order), BATCH):
            part = order[first : first + BATCH]
            given = model.tokenizer([texts[i] for i in part], padding=True, truncation=True,
                                    max_length=model.max_seq_length, return_tensors="np")
            inputs = {name: array.astype(np.int64) for name, array in given.items()}
            states, mask = states_of(inputs), inputs["attention_mask"][..., None]
            pooled = (states * mask).sum(axis=1) / mask.sum(axis=1) if is_mean else states[:, 0]
            found |= dict(zip(part, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), strict=True))
        return np.stack([found[i] for i in range(len(texts))])

    return embed


def openvino_peer(model: Any, options: argparse.Namespace) -> Embed:
    """OpenVINO, converted from the torch module; its own choice of precision on this processor."""
    import openvino as ov

    core = ov.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": options.num_threads, "PERFORMANCE_HINT": "LATENCY"})
    compiled = core.compile_model(ov.convert_model(model[0].auto_model, example_input=example(model)), "CPU")
    names = [{*port.get_names()} for port in compiled.inputs]
    return batched(model, lambda inputs: compiled({i: inputs[(names[i] & inputs.keys()).pop()]
                                                   for i in range(len(names))})[0])


def onnx_peer(model: Any, options: argparse.Namespace) -> Embed:
    """ONNX Runtime (what FastEmbed runs), exported from the torch module, float32."""
    import tempfile

    import onnxruntime

    inputs = example(model)
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory, "model.onnx"))
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.max_seq_length)}
        torch.onnx.export(model[0].auto_model, kwargs=inputs, f=path, dynamo=True, verbose=False,
                          dynamic_shapes={name: axes for name in inputs})
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.num_threads
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    wanted = [node.name for node in session.get_inputs()]
    return batched(model, lambda inputs: session.run(None, {name: inputs[name] for name in wanted})[0])


def example(model: Any) -> dict[str, torch.Tensor]:
    """Inputs by which a module is converted."""
    return dict(model.tokenizer(["one short text", "another text, which is longer"], padding=True, return_tensors="pt"))


PEERS: dict[str, Callable[[Any, argparse.Namespace], Embed]] = {
    "sentence-transformers": torch_peer, "openvino": openvino_peer, "onnxruntime": onnx_peer}


def is_here(name: str) -> bool:
    """False, with a line that says so, for a peer that is not installed."""
    if importlib.util.find_spec(name.replace("-", "_")) is not None:
        return True
    print(f"{name} is left out: pip install {name}")
    return False


if __name__ == "__main__":
    main()
