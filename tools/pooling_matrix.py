"""Runs every checkpoint of a folder as a pooling model and compares states and logits with Transformers.

    python tools/pooling_matrix.py FOLDER [--only NAME,NAME] [--workers N] [--json FILE]

FOLDER: a directory with a directory for each checkpoint, of any architecture that does not generate: encoders, bodies
of decoders, classifiers. Each runs as `LLM(model)` chooses; prompts are pooled alone and together in one step. Compared
are the logits of classes that classify, and the final hidden states of all others: a difference is the length of a
row's error divided by the row's length. Ends with 1 if a checkpoint that Transformers runs differs or fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

LENGTHS = (5, 17, 40, 100)
TOLERANCE = 1e-4                # of a row of numbers, float32 on both sides
CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")
OPTIONS = {"dtype": "float32", "use_tqdm_on_load": False, "skip_tokenizer_init": True, "num_threads": 1,
           "kv_cache_memory_bytes": 1 << 25}


def prompts(config: Any) -> list[list[int]]:
    """Token ids, none of which is special; with the end-of-text token where a class reads the state there."""
    size, state, out = min(getattr(config.get_text_config(), "vocab_size", 500), 500), 12345, []
    for length in LENGTHS:
        ids = []
        for _ in range(length):
            state = (1103515245 * state + 12345) % 2**31
            ids.append(16 + (state >> 8) % (size - 16))
        out.append([*ids, config.eos_token_id] if config.is_encoder_decoder else ids)
    return out


def wanted(path: Path) -> tuple[str, list[list[int]], list[Any]]:
    """(architecture, prompts, for each prompt the logits or states that Transformers gives)."""
    import torch
    import transformers

    name = json.loads((path / "config.json").read_text())["architectures"][0]
    cls = getattr(transformers, name)
    how = {"attn_implementation": "eager"} if cls._can_set_attn_implementation() else {}
    model = cls.from_pretrained(path, dtype=torch.float32, **how).eval()
    seen: list[Any] = []
    if not name.endswith(CLASSIFIERS):
        model.base_model.register_forward_hook(lambda module, args, output: seen.append(output))
    given, out = prompts(model.config), []
    with torch.inference_mode():
        for ids in given:
            result = model(torch.tensor([ids]))
            if name.endswith(CLASSIFIERS):
                out.append(result.logits[0])
            else:
                states = getattr(seen[-1], "last_hidden_state", None)
                out.append((seen[-1][0] if states is None else states)[0])
    return name, given, out


def found(path: Path, name: str, given: list[list[int]]) -> tuple[str, list[Any]]:
    """(what ran the model, weft's answers to all prompts together, then to each alone)."""
    from weft import LLM, PoolingParams

    task = "token_embed"
    if name.endswith(CLASSIFIERS):
        task = "classify" if name.endswith(CLASSIFIERS[0]) else "token_classify"
    params = PoolingParams(task=task, use_activation=False)
    asked = [{"prompt_token_ids": ids} for ids in given]
    with LLM(model=str(path), runner="pooling", max_model_len=max(map(len, given)), **OPTIONS) as llm:
        (how,) = llm.apply_model(lambda module: getattr(module, "level", "native"))
        outputs = llm.encode(asked, params, use_tqdm=False)
        for prompt in asked:
            outputs += llm.encode([prompt], params, use_tqdm=False)
    errors = [output.error for output in outputs if output.error]
    if errors:
        raise RuntimeError(errors[0])
    return how, [output.outputs.data for output in outputs]


def difference(rows: Any, expected: Any) -> float:
    """The largest length of a row's error, in lengths of the row. ValueError for another shape."""
    if rows.shape != expected.shape:
        raise ValueError(f"the result is {list(rows.shape)} instead of {list(expected.shape)}")
    return float(((rows - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-6)).max())


def measured(path: Path) -> dict[str, Any]:
    """The row of one checkpoint: an error of Transformers ("oracle"), an error of weft ("error"), or the difference."""
    logging.getLogger("weft").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    row: dict[str, Any] = {"name": path.name}
    started = time.monotonic()
    try:
        name, given, expected = wanted(path)
    except (Exception, SystemExit) as error:
        return row | {"oracle": f"{type(error).__name__}: {str(error)[:300]}"}
    try:
        row["level"], answers = found(path, name, given)
        row["difference"] = max(map(difference, answers, expected * 2))
    except (Exception, SystemExit) as error:
        row["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    return row | {"seconds": time.monotonic() - started}


def is_right(row: dict[str, Any]) -> bool:
    """Whether weft gave the numbers of Transformers."""
    return row.get("difference", float("inf")) <= TOLERANCE


def main() -> int:
    """Print the checkpoints that fail, with the reason, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    only = [name for name in args.only.split(",") if name]
    paths = [path for path in sorted(args.folder.iterdir())
             if (path / "config.json").is_file() and (not only or path.name in only)]
    rows = []
    with ProcessPoolExecutor(args.workers) as pool:
        for future in as_completed([pool.submit(measured, path) for path in paths]):
            rows.append(row := future.result())
            if not is_right(row):
                why = row.get("error") or row.get("oracle") or f"differs by {row['difference']:.2g}"
                print(f"{'no oracle' if 'oracle' in row else 'WRONG':10}{row['name']:44}{row.get('level', ''):10}{why}",
                      flush=True)
    if args.json:
        args.json.write_text(json.dumps(sorted(rows, key=lambda row: row["name"]), indent=1) + "\n")
    judged = [row for row in rows if "oracle" not in row]
    right = [row for row in judged if is_right(row)]
    print(f"{len(right)} of {len(judged)} right ({len(right) / max(1, len(judged)):.1%}): "
          + ", ".join(f"{count} {level}" for level, count in Counter(row["level"] for row in right).most_common()))
    return 0 if len(right) == len(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
