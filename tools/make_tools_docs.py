"""Writes the tables of docs/tools.md from the formats of tool calls and of reasoning (weft/text/).

    python tools/make_tools_docs.py            writes the tables into the page; the text around them stays
    python tools/make_tools_docs.py --check    exit status 1 when the page's tables are not current

A test runs the check. A table stands between the lines `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import sys

from doc_page import main

from weft.text.reasoning.formats import FORMATS as REASONING_FORMATS
from weft.text.tools.formats import FORMATS as TOOL_FORMATS


def tools_table() -> str:
    """A row for each format of tool calls."""
    rows = [f"| {_names(form.names)} | {form.models} | {_code(form.example)} |" for form in TOOL_FORMATS]
    return "\n".join(["| name | models | a call |", "|---|---|---|", *rows, ""])


def reasoning_table() -> str:
    """A row for each format of reasoning."""
    rows = [f"| {_names(form.names)} | {form.models} | {' '.join(map(_code, form.starts))} | "
            f"{' '.join(map(_code, form.ends))} | {'yes' if form.is_implied else ''} |" for form in REASONING_FORMATS]
    return "\n".join(["| name | models | begins with | ends with | implied |", "|---|---|---|---|---|", *rows, ""])


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(text: str) -> str:
    shown = text.strip().replace("\n", "↵").replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


if __name__ == "__main__":
    sys.exit(main("docs/tools.md", {"tools": tools_table(), "reasoning": reasoning_table()}))
