"""Resolves the golden configs again and writes each result beside its config, for review with `git diff`.

    python tools/golden_configs.py            write tests/resolve/golden/*.json
    python tools/golden_configs.py --check    only say which entries differ
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "resolve"), str(ROOT / "tests" / "support")]

from golden_configs import files, outcome  # noqa: E402


def main() -> int:
    """Exit status 1 when --check found a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    differ = []
    with tempfile.TemporaryDirectory() as folder:
        for file in files():
            entries = json.loads(file.read_text(encoding="utf-8"))
            for number, entry in enumerate(entries):
                kept = {key: entry[key] for key in ("name", "params", "config", "overrides") if key in entry}
                entries[number] = kept | outcome(entry, Path(folder) / file.stem / str(number))
                if entries[number] != entry:
                    differ.append(f"{file.name}: {entry['name']}")
            if not check:
                file.write_text(text(entries), encoding="utf-8")
    print("\n".join(differ) or "nothing changed")
    return 1 if check and differ else 0


def text(entries: list[dict]) -> str:
    """JSON with one line for each key of an entry, so that it is readable and `git diff` is useful."""
    lines = []
    for entry in entries:
        parts = []
        for key, value in entry.items():
            if key != "result":
                parts.append(f'  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}')
                continue
            inner = [f'    {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}' for k, v in value.items()]
            parts.append('  "result": {\n' + ",\n".join(inner) + "\n  }")
        lines.append(" {\n" + ",\n".join(parts) + "\n }")
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    raise SystemExit(main())
