"""Pages of docs/ with tables that are made from the code. A tool makes the tables; `main` puts them into its page.

A table stands between the lines `<!-- NAME -->` and `<!-- end of NAME -->`; the text around it stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


def main(path: str, tables: Mapping[str, str]) -> int:
    """Writes {name: table} into the page at `path` in the repository; with --check says whether it is current.

    Returns the exit status. ValueError if the page has no place for a table.
    """
    page = _ROOT / path
    before = page.read_text(encoding="utf-8")
    now = with_tables(before, tables, path)
    if "--check" in sys.argv[1:]:
        print(f"{page} is {'current' if now == before else f'not what the code says: run {sys.argv[0]}'}")
        return int(now != before)
    page.write_text(now, encoding="utf-8")
    print(page)
    return 0


def with_tables(text: str, tables: Mapping[str, str], path: str) -> str:
    """A page's text with these tables. ValueError names the table whose place the page lacks."""
    for name, table in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not place.search(text):
            raise ValueError(f"{path} has no place for the table {name}")
        text = place.sub(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", text)
    return text
