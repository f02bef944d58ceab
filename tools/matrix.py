"""Runs every checkpoint of a catalogue with model_impl="transformers" and compares the tokens with an oracle's.

    python tools/matrix.py CATALOGUE [--kind causal|seq2seq] [--oracle SCRIPT] [--work DIR] [--only ARCH,ARCH]
        [--json FILE] [--markdown FILE]

CATALOGUE: a directory of checkpoints, or a script for which `SCRIPT list --kind KIND` prints "kind name model_type"
lines and `SCRIPT NAME DIR` writes a checkpoint. The oracle: a file oracle.json in the checkpoint ({"prompts":
[{"prompt": ids, "generated": ids}]}), which `--oracle SCRIPT` is asked to write where there is none; without both,
Transformers' own greedy generation. Each prompt is computed in company of all others, and again in small chunks.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAYS: dict[str, dict[str, Any]] = {"in company": {}, "chunked": {"max_num_batched_tokens": 13, "max_num_seqs": 4}}
LENGTHS, NEW_TOKENS = (5, 17, 40, 70), 24
NEAR_TIE = 1e-3             # two likeliest tokens whose log-probabilities are closer may come in either order
OPTIONS = {"dtype": "float32", "use_tqdm_on_load": False, "skip_tokenizer_init": True, "num_threads": 1,
           "model_impl": "transformers", "kv_cache_memory_bytes": 1 << 26}


def checkpoints(catalogue: Path, kind: str, work: Path, only: list[str], python: str) -> Iterator[tuple[str, Path]]:
    """(name, directory) of each checkpoint, written first where the catalogue is a script."""
    if catalogue.is_dir():
        for path in sorted(catalogue.iterdir()):
            if (path / "config.json").is_file() and (not only or path.name in only):
                yield path.name, path
        return
    listed = subprocess.run([python, str(catalogue), "list", "--kind", kind], check=True, capture_output=True,
                            text=True).stdout
    for line in listed.splitlines():
        name = line.split()[1]
        if only and name not in only:
            continue
        path = work / name
        if not (path / "config.json").is_file():
            subprocess.run([python, str(catalogue), name, str(path)], check=False, capture_output=True)
        yield name, path


def wanted(path: Path, oracle: Path | None, python: str) -> list[dict[str, Any]]:
    """The oracle's prompts with generated ids. ValueError when there is no oracle for the checkpoint."""
    file = path / "oracle.json"
    if not file.is_file() and oracle is not None:
        subprocess.run([python, str(oracle), str(path)], check=False, capture_output=True)
    if file.is_file():
        return json.loads(file.read_text())["prompts"]
    if oracle is not None:
        raise ValueError("the oracle has no result")
    return generated(path)


def generated(path: Path) -> list[dict[str, Any]]:
    """What Transformers generates, for prompts of pseudo-random ids."""
    import torch
    import transformers

    config = json.loads((path / "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager").eval()
    size, state, out = min(model.config.get_text_config().vocab_size, 500), 12345, []
    for length in LENGTHS:
        ids = []
        for _ in range(length):
            state = (1103515245 * state + 12345) % 2**31
            ids.append(16 + (state >> 8) % (size - 16))
        found = model.generate(torch.tensor([ids]), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
                               do_sample=False)
        out.append({"prompt": ids, "generated": found[0, -NEW_TOKENS:].tolist()})
    return out


def compare(found: list[int], case: dict[str, Any]) -> str:
    """"" for equal tokens; else where they part."""
    right = [case["generated"], *([case["cached"]["generated"]] if "cached" in case else [])]
    ties = {tie["step"] for tie in case.get("near_ties", ())}
    for ids in right:
        at = next((i for i, (a, b) in enumerate(zip(found, ids, strict=False)) if a != b), None)
        if at is None or at in ties:
            return ""
    at = next(i for i, (a, b) in enumerate(zip(found, right[0], strict=False)) if a != b)
    return f"prompt of {len(case['prompt'])}: token {at} is {found[at]}, not {right[0][at]}"


def doubt(cases: list[dict[str, Any]]) -> str:
    """"" for an oracle that agrees with itself, else how far it does not."""
    apart = max((case.get("self_check", {}).get("max_logprob_difference_all", 0.0) for case in cases), default=0.0)
    return "" if apart <= NEAR_TIE else (
        f"with its cache Transformers' log-probabilities are up to {apart:.1f} from those of a plain pass")


def run(path: Path, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """{level, reason, and for each way "equal" or what is not}."""
    from weft import LLM, SamplingParams

    result: dict[str, Any] = {}
    longest = max(len(case["prompt"]) + len(case["generated"]) for case in cases)
    params = [SamplingParams(temperature=0, max_tokens=len(case["generated"]), ignore_eos=True) for case in cases]
    for way, options in WAYS.items():
        with LLM(model=str(path), max_model_len=longest, **OPTIONS, **options) as llm:
            outputs = llm.generate([{"prompt_token_ids": case["prompt"]} for case in cases], params, use_tqdm=False)
            (result["class"], result["level"], result["reason"]), = llm.apply_model(
                lambda module: (type(module).__name__, module.level, module.reason))
        faults = [fault for output, case in zip(outputs, cases, strict=True)
                  if (fault := compare(list(output.outputs[0].token_ids), case))]
        result[way] = "; ".join(faults) or "equal"
    if any(result[way] != "equal" for way in WAYS) and doubt(cases):
        result["doubt"] = doubt(cases)
    return result


def measured(name: str, path: Path, oracle: Path | None, python: str) -> dict[str, Any]:
    """The row of one checkpoint. An error is part of the row."""
    row: dict[str, Any] = {"name": name, "architecture": name.partition("@")[0]}
    try:
        cases = wanted(path, oracle, python)
    except Exception as error:
        return row | {"oracle": f"none: {type(error).__name__}: {str(error)[:160]}"}
    try:
        return row | {"oracle": "yes"} | run(path, cases)
    except Exception as error:
        return row | {"oracle": "yes", "error": f"{type(error).__name__}: {str(error)[:300]}"}


def is_equal(row: dict[str, Any]) -> bool:
    """Whether all ways gave the oracle's tokens."""
    return all(row.get(way) == "equal" for way in WAYS)


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table, and the sums above it."""
    judged = [row for row in rows if row["oracle"] == "yes"]
    right = [row for row in judged if is_equal(row)]
    levels = {level: sum(row.get("level") == level for row in right)
              for level in ("wired and fused", "wired", "own cache")}
    lines = [f"{len(right)} of the {len(judged)} architectures that the oracle can run give its tokens "
             f"({len(right) / max(1, len(judged)):.1%}): "
             + ", ".join(f"{count} {level}" for level, count in levels.items()) + ".", "",
             "| architecture | level | in company | chunked | why not more |", "|---|---|---|---|---|"]
    for row in rows:
        why = row.get("error") or "; ".join(filter(None, (row.get("reason"), row.get("doubt")))) or (
            "" if row["oracle"] == "yes" else row["oracle"])
        cells = [row["name"], row.get("level", "-"), *(row.get(way, "-") for way in WAYS), why]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Ends with 1 if a judged checkpoint gives other tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--kind", default="causal", choices=("causal", "seq2seq"))
    parser.add_argument("--oracle", type=Path)
    parser.add_argument("--work", type=Path, default=Path("matrix-checkpoints"))
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    logging.getLogger("weft").setLevel(logging.CRITICAL)
    rows, only = [], [name for name in args.only.split(",") if name]
    for name, path in checkpoints(args.catalogue, args.kind, args.work, only, sys.executable):
        start = time.monotonic()
        rows.append(measured(name, path, args.oracle, sys.executable))
        said = {key: value for key, value in rows[-1].items() if value and key not in ("name", "architecture")}
        print(f"{'equal' if is_equal(rows[-1]) else 'OTHER':6}{name:36}{time.monotonic() - start:5.1f} s  {said}",
              flush=True)
        if args.json:
            import torch
            import transformers

            versions = {"transformers": transformers.__version__, "torch": torch.__version__}
            args.json.write_text(json.dumps({"versions": versions, "results": rows}, indent=1) + "\n")
    table = markdown(rows)
    print(table.splitlines()[0])
    if args.markdown:
        args.markdown.write_text(table)
    return 0 if all(is_equal(row) for row in rows if row["oracle"] == "yes") else 1


if __name__ == "__main__":
    sys.exit(main())
