"""Compares weft with Transformers over all text architectures: tiny random checkpoints, the same greedy tokens.

    python tools/matrix.py [--kind causal|seq2seq] [--variants plain,grouped,windowed | --switches] [--only NAME,NAME]
        [--part I/N] [--draw N] [--model-impl auto|transformers] [--workers N] [--json FILE] [--markdown FILE] [--write]
    python tools/matrix.py FOLDER        the checkpoints of a folder
    python tools/matrix.py FOLDER --kind vlm        the same, with images

The checkpoints are those of tools/tiny_models.py. Every prompt is computed in company of all others, alone with a
prefix cache that knows it, and in chunks of at most 7 tokens with so few blocks that sequences are preempted. Judged
are the tokens and their log-probabilities against Transformers' (decoders: the plain forward pass, without a cache;
encoder-decoders: `generate`), or against a file oracle.json in the
checkpoint ({"prompts": [{"prompt": ids, "generated": ids}]}). With --kind vlm its "images" are prompts, too ({"image":
name, "prompt": ids with a token for each row, "generated": ids}); oracle_inputs.safetensors has the encoder's arguments
as "name.argument". Where Transformers contradicts itself with its cache, the tokens with it ("cached") are right, too.
A variant that Transformers cannot run is not judged.
--write notes in weft/models/registry/matrix.json, which `weft models` reads, each judged architecture that gave equal
tokens in all its variants, and removes the others.
Ends with 1 if a judged checkpoint fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
import tiny_models

LENGTHS, NEW_TOKENS = (5, 17, 40, 70), 24
NEAR_TIE = 1e-3             # two likeliest tokens whose log-probabilities are closer may come in either order
TOLERANCE = 2e-3            # of a log-probability, float32 on both sides
ENGINES: dict[str, dict[str, Any]] = {
    "whole": {"enable_prefix_caching": True},
    "chunked": {"max_num_batched_tokens": 7, "max_num_seqs": 4, "enable_prefix_caching": False},
}
TASKS = 20                  # checkpoints that one process judges
NO_VARIANT = "has no variant"         # said by tiny_models of a variant that would be the plain one
WAYS = ("in company", "alone, cached", "chunked, preempted")
OPTIONS = {"dtype": "float32", "use_tqdm_on_load": False, "skip_tokenizer_init": True, "num_threads": 1,
           "kv_cache_memory_bytes": 1 << 26}
NEEDED = re.compile(r"(?:needs|at least) (\d+) bytes")      # in the errors for a cache that holds no whole sequence


class Job(NamedTuple):
    """A checkpoint to judge. path: of a folder's checkpoint; None: tiny_models writes it. draw: as there."""

    name: str
    variant: str
    kind: str
    impl: str
    path: Path | None = None
    draw: int = 0


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """What the command line asks for."""
    only = set(filter(None, args.only.split(",")))
    if args.folder:
        for path in sorted(args.folder.iterdir()):
            if (path / "config.json").is_file() and (not only or path.name in only):
                yield Job(path.name, "", args.kind, args.model_impl, path)
        return
    part, _, parts = args.part.partition("/")
    for at, (name, found) in enumerate(tiny_models.catalogue(args.kind).items()):
        if (only and name not in only) or at % int(parts) != int(part):
            continue
        for variant in tiny_models.switches(*found) if args.switches else args.variants.split(","):
            yield Job(name, variant, args.kind, args.model_impl, draw=args.draw)


def reference(path: Path, kind: str) -> list[dict[str, Any]]:
    """[{prompt, generated, logprobs, near_ties}] of the oracle's file, or of Transformers' own generation."""
    import torch
    import transformers

    if (path / "oracle.json").is_file():
        found = json.loads((path / "oracle.json").read_text(encoding="utf-8"))
        images = with_tensors(found.get("images") or [], path / "oracle_inputs.safetensors") if kind == "vlm" else []
        if kind == "vlm" and not images:
            raise ValueError(f"the oracle has no images: {found.get('image_error', 'the model takes none')}")
        return found["prompts"] + images
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    cls = getattr(transformers, config["architectures"][0])
    how = {"attn_implementation": "eager"} if cls._can_set_attn_implementation() else {}
    model = cls.from_pretrained(path, dtype=torch.float32, **how).eval()
    size, state, out = min(model.config.get_text_config().vocab_size, 500), 12345, []
    for length in LENGTHS:
        ids = []
        for _ in range(length):
            state = (1103515245 * state + 12345) % 2**31
            ids.append(16 + (state >> 8) % (size - 16))
        if kind == "seq2seq":
            ids.append(model.config.eos_token_id or 1)
        with torch.inference_mode():
            logprobs, generated = (_generated if kind == "seq2seq" else _greedy)(model, torch.tensor([ids]))
        best = logprobs.topk(2).values.tolist()
        out.append({"prompt": ids, "generated": generated.tolist(), "min_tokens": NEW_TOKENS * (kind == "seq2seq"),
                    "logprobs": logprobs.gather(1, generated[:, None])[:, 0].tolist(),
                    "near_ties": [{"step": i} for i, (first, second) in enumerate(best) if first - second < NEAR_TIE]})
    return out


def with_tensors(cases: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """Cases of prompts with an image, each with what the encoder takes as "tensors"."""
    from safetensors.torch import load_file

    tensors = load_file(file) if cases else {}
    return [case | {"tensors": {name.removeprefix(f"{case['image']}."): tensor for name, tensor in tensors.items()
                                if name.startswith(f"{case['image']}.")}} for case in cases]


def with_images(llm: Any, cases: list[dict[str, Any]], params: list[Any]) -> list[Any]:
    """The outputs of cases that run together, their images given as the encoder takes them."""
    from weft.engine.process.messages import MediaInput
    from weft.engine.process.wire_tensor import to_wire
    from weft.media.item import content_digest, spans_of

    engine, found = llm._engine, {}
    image_token = engine.client.info.media_token_ids.get("image")
    for number, (case, one) in enumerate(zip(cases, params, strict=True)):
        prepared = engine.inputs.prepare(str(number), {"prompt_token_ids": case["prompt"]}, one)
        if "tensors" in case:
            places = [i for i, token in enumerate(case["prompt"]) if token == image_token]
            if not places:
                raise ValueError(f"weft takes no images of this model (image token {image_token})")
            prepared.children[0].media = [MediaInput(
                kind="image", digest=content_digest("image", case["tensors"]), spans=list(spans_of(places)),
                tensors={name: to_wire(tensor) for name, tensor in case["tensors"].items()})]
        engine.submit(prepared)
    while engine.has_unfinished_requests():
        found |= {output.request_id: output for output in engine.step()}
    return [found[str(number)] for number in range(len(cases))]


def _greedy(model: Any, ids: Any) -> tuple[Any, Any]:
    """([N, V], [N]): log-probabilities and tokens of plain forward passes over the whole sequence, without a cache.

    `generate` gives RoBERTa and its kin other positions than their forward pass does.
    """
    import torch

    steps = []
    for _ in range(NEW_TOKENS):
        steps.append(model(input_ids=ids, use_cache=False).logits[0, -1].float().log_softmax(-1))
        ids = torch.cat([ids, steps[-1].argmax()[None, None]], dim=1)
    return torch.stack(steps), ids[0, -NEW_TOKENS:]


def _generated(model: Any, ids: Any) -> tuple[Any, Any]:
    """The same by `generate`, which knows start tokens and forced tokens."""
    import torch

    found = model.generate(ids, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1,
                           output_logits=True, return_dict_in_generate=True)
    return torch.stack(found.logits)[:, 0].float().log_softmax(-1), found.sequences[0, -NEW_TOKENS:]


def fault(output: Any, case: dict[str, Any]) -> str:
    """"" for equal tokens with equal log-probabilities, up to a near tie; else where they part."""
    found, right, where = list(output.token_ids), case["generated"], f"{case.get('image', 'prompt')} of"
    ties = {tie["step"] for tie in case.get("near_ties", ())}
    for i, token in enumerate(right):
        if i >= len(found) or found[i] != token:
            return "" if i in ties else f"{where} {len(case['prompt'])}: token {i} is {found[i: i + 1]}, not {token}"
        apart = abs(output.logprobs[i][token].logprob - case["logprobs"][i]) if "logprobs" in case else 0.0
        if not apart < TOLERANCE:
            return f"{where} {len(case['prompt'])}: log-probability of token {i} is {apart:.2g} away"
    return ""


def run(path: Path, cases: list[dict[str, Any]], impl: str) -> dict[str, Any]:
    """{"runs as", "reason", and for each way "equal" or what is not}."""
    from weft import LLM, SamplingParams

    longest = max(len(case["prompt"]) + len(case["generated"]) for case in cases)
    params = [SamplingParams(temperature=0, max_tokens=len(case["generated"]), ignore_eos=True, logprobs=1,
                             min_tokens=case.get("min_tokens", 0)) for case in cases]
    results, row, chunk = {}, {}, 0
    for engine, options in ENGINES.items():
        if engine == "chunked":
            options = options | {"max_num_batched_tokens": chunk} if chunk else options
            options = options | least_cache(path, OPTIONS | options | {"max_model_len": longest, "model_impl": impl})
        with LLM(model=str(path), **OPTIONS | {"max_model_len": longest, "model_impl": impl} | options) as llm:
            row["runs as"], row["reason"] = llm.apply_model(_outline)[0]
            if engine == "whole":
                results["in company"] = with_images(llm, cases, params)
                results["alone, cached"] = [with_images(llm, [case], [one])[0]
                                            for case, one in zip(cases, params, strict=True)]
                if llm.collective_rpc(_computes_spans)[0]:
                    chunk = max((len(case["prompt"]) for case in cases if "tensors" in case), default=0)
            else:
                results["chunked, preempted"] = with_images(llm, cases, params)
                row["preemptions"] = llm.stats.num_preemptions
    for way, outputs in results.items():
        faults = [said for output, case in zip(outputs, cases, strict=True)
                  if (said := fault(output.outputs[0], case)) and not ("cached" in case and not fault(
                      output.outputs[0], case | case["cached"]))]
        row[way] = "; ".join(faults) or "equal"
    return row


def least_cache(path: Path, options: dict[str, Any]) -> dict[str, int]:
    """The size of a cache that holds one sequence of the longest length, so that several do not fit; {} for a model
    that keeps none in blocks.
    """
    from weft import LLM, MemoryPlanError

    size = 1
    while True:
        try:
            LLM(model=str(path), **options | {"kv_cache_memory_bytes": size}).close()
        except MemoryPlanError as error:
            if (found := NEEDED.search(str(error))) is None:
                raise
            size = int(found[1])
        else:
            return {"kv_cache_memory_bytes": size} if size > 1 else {}


def _computes_spans(worker: Any) -> bool:
    """Whether an image, or a prompt with some, has to be computed in one step."""
    return worker.model.media is not None and worker.model.media.unit != "rows"


def _outline(module: Any) -> tuple[str, str]:
    return getattr(module, "level", "native"), getattr(module, "reason", "")


def judge(job: Job) -> dict[str, Any]:
    """The row of one checkpoint. An error is part of the row."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    start, row = time.monotonic(), {"name": job.name, "variant": job.variant}
    folder = Path(tempfile.mkdtemp(prefix="weft-matrix-"))
    try:
        try:
            if job.path is None:
                tiny_models.make(job.name, folder, job.variant, job.kind, job.draw)
            cases = reference(job.path or folder, job.kind)
        except Exception as error:
            return row | {"not judged": f"{type(error).__name__}: {str(error)[:160]}"}
        try:
            row |= run(job.path or folder, cases, job.impl)
        except Exception as error:
            row |= {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        return row | {"seconds": round(time.monotonic() - start, 1)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judged(todo: list[Job], workers: int) -> Iterator[dict[str, Any]]:
    """The rows, as they come. Each process judges about TASKS checkpoints, as what libraries keep adds up."""
    # Not by max_tasks_per_child, with which Python 3.11's executor waits for ever (python/cpython#115634).
    context, step = multiprocessing.get_context("spawn"), TASKS * workers
    for start in range(0, len(todo), step):
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for future in as_completed([pool.submit(judge, job) for job in todo[start: start + step]]):
                yield future.result()


def is_equal(row: dict[str, Any]) -> bool:
    """Whether all ways gave Transformers' tokens."""
    return all(row.get(way) == "equal" for way in WAYS)


def right(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """{judged architecture: how it ran, None where a variant is not equal}."""
    found: dict[str, str | None] = {}
    for row in rows:
        if "not judged" not in row and found.get(row["name"], "") is not None:
            found[row["name"]] = row["runs as"] if is_equal(row) else None
    return found


def totals(rows: list[dict[str, Any]]) -> str:
    """How many architectures are right in all their judged variants, and how they run."""
    found, judged = right(rows), sum("not judged" not in row for row in rows)
    equal = Counter(level for level in found.values() if level)
    how = ", ".join(f"{count} {level}" for level, count in equal.most_common())
    return (f"{equal.total()} of {len(found)} architectures give Transformers' tokens in all their variants "
            f"({equal.total() / max(1, len(found)):.1%}): {how}. "
            f"Checkpoints: {sum(map(is_equal, rows))} of {judged}.")


def write(rows: list[dict[str, Any]]) -> None:
    """Brings weft/models/registry/matrix.json up to date with these rows."""
    from weft.models.registry.support import MATRIX_FILE, compared

    noted = compared() | right(rows)
    kept = {name: level for name, level in sorted(noted.items()) if level}
    MATRIX_FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def markdown(rows: list[dict[str, Any]]) -> str:
    """A line for each architecture and a cell for each variant, and the sums above."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    by_name: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_name[row["name"]][row["variant"]] = row
    lines = [totals(rows), "", f"| architecture | runs as | {' | '.join(variants)} | why not more |",
             f"|---|---|{'---|' * len(variants)}---|"]
    for name, found in by_name.items():
        judged = [row for row in found.values() if "not judged" not in row]
        level = next((row["runs as"] for row in judged if "runs as" in row), "")
        cells = [_cell(found.get(variant, {"not judged": ""})) for variant in variants]
        why = list(dict.fromkeys(filter(None, map(_why, judged)))) or [row.get("reason", "") for row in judged[:1]]
        line = " | ".join((name, level, *cells, "; ".join(why).replace("|", "\\|").replace("\n", " ")))
        lines.append(f"| {line} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any]) -> str:
    return "" if "not judged" in row else "equal" if is_equal(row) else "other"


def _why(row: dict[str, Any]) -> str:
    return row.get("error") or next((row[way] for way in WAYS if row.get(way, "equal") != "equal"), "")


def words(row: dict[str, Any]) -> str:
    """A line of the log."""
    said = {key: value for key, value in row.items() if value and key not in ("name", "variant")}
    word = "-" if "not judged" in row else "equal" if is_equal(row) else "OTHER"
    return f"{word:6}{row['name']:36}{row['variant']:10}{said}"


def main() -> int:
    """Judges all jobs in parallel processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--kind", default="causal", choices=(*tiny_models.KINDS, "vlm"))
    parser.add_argument("--variants", default=",".join(tiny_models.VARIANTS))
    parser.add_argument("--switches", action="store_true", help="a variant for each switch of a config instead")
    parser.add_argument("--only", default="")
    parser.add_argument("--part", default="0/1", help="I/N: each N-th architecture, from the I-th on")
    parser.add_argument("--draw", type=int, default=0, help="a number; other weights for each")
    parser.add_argument("--model-impl", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.kind == "vlm" and not args.folder:
        parser.error("--kind vlm judges the checkpoints of a FOLDER, which have the oracle's images")
    rows, todo = [], list(jobs(args))
    for row in judged(todo, args.workers):
        if NO_VARIANT not in row.get("not judged", ""):
            rows.append(row)
            print(words(row), flush=True)
    order = {job[:2]: at for at, job in enumerate(todo)}
    rows.sort(key=lambda row: order[row["name"], row["variant"]])
    print(totals(rows))
    if args.json:
        import torch
        import transformers

        versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        args.json.write_text(json.dumps({"versions": versions, "results": rows}, indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(markdown(rows), encoding="utf-8")
    if args.write:
        write(rows)
    return 0 if all(is_equal(row) for row in rows if "not judged" not in row) else 1


if __name__ == "__main__":
    sys.exit(main())
