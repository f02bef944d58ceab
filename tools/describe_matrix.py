"""Lets weft describe every architecture of a folder of checkpoints, and counts the descriptions that are proven.

    python tools/describe_matrix.py FOLDER [--only NAME,NAME] [--workers N] [--out FOLDER] [--json FILE]

FOLDER: a directory with a directory for each checkpoint, of which config.json alone is read. The search knows no
description of weft's own: it has a Transformers class, weft's parts, and numbers. --out: descriptions and proofs are
written there; what is there already is not searched again. Ends with 1 if less than 60% are proven.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

SHARE = 0.6


def config_values(file: Path) -> dict[str, Any]:
    """A config's values; {"__float__": "Infinity"}, as Transformers writes it, is a float."""
    def decoded(entry: dict[str, Any]) -> Any:
        return float(entry["__float__"].replace("Infinity", "inf")) if "__float__" in entry else entry

    return json.loads(file.read_text(), object_hook=decoded)


def describe(folder: str, out: str | None) -> tuple[str, str, float]:
    """(checkpoint, "proven" or why not, seconds)."""
    import torch
    import transformers

    from weft.discover.describe import find_description
    from weft.discover.tiny import class_named

    warnings.filterwarnings("ignore")
    logging.getLogger("weft").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    start, name, text = time.monotonic(), Path(folder).name, ""
    known = None if out is None else Path(out, f"{name}.txt")
    if known is not None and known.is_file():
        return name, known.read_text().splitlines()[0], 0.0
    try:
        values = config_values(Path(folder, "config.json"))
        found = find_description(class_named(values["architectures"][0]), values)
        verdict = "proven" if found.is_proven else next(
            (f"not proven: {trial.text()}" for trial in found.trials if not trial.holds), "not proven: no trials")
        text = f"{found.text}\n{found.proof()}"
    except Exception as error:
        verdict = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if known is not None:
        known.write_text(f"{verdict}\n{text}\n")
    return name, verdict, time.monotonic() - start


def main() -> int:
    """Search for all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="names of checkpoints, with commas between")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", help="folder for descriptions and proofs")
    parser.add_argument("--json", type=Path, help="file for {checkpoint: verdict}")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    folders = [str(file.parent) for file in sorted(options.folder.glob("*/config.json"))
               if not only or file.parent.name in only]
    if options.out is not None:
        Path(options.out).mkdir(parents=True, exist_ok=True)
    verdicts = {}
    with ProcessPoolExecutor(options.workers) as pool:
        for name, verdict, seconds in pool.map(describe, folders, [options.out] * len(folders)):
            verdicts[name] = verdict
            print(f"{name:<40} {seconds:6.1f} s  {verdict[:200]}", flush=True)
    proven = sum(verdict == "proven" for verdict in verdicts.values())
    print(f"{proven} of {len(verdicts)} proven ({proven / max(1, len(verdicts)):.0%})")
    if options.json is not None:
        options.json.write_text(json.dumps(verdicts, indent=1))
    return 0 if proven >= SHARE * len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
