"""Writes the tables of docs/coming-from-vllm.md from the table of vLLM's options (weft/compat/vllm/options/).

    python tools/make_vllm_docs.py            writes the tables into the page; the text around them stays
    python tools/make_vllm_docs.py --check    exit status 1 when the page's tables are not current

A test runs the check. A table stands between the lines `<!-- NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from doc_page import main

from weft.compat.vllm.options.engine import ENGINE
from weft.compat.vllm.options.pooling import POOLING
from weft.compat.vllm.options.pooling_requests import EMBEDDING
from weft.compat.vllm.options.requests import GENERATING
from weft.compat.vllm.options.row import NO_EFFECT, REFUSED, SAME, TRANSLATED, Option
from weft.compat.vllm.options.sampling import BEAM, SAMPLING
from weft.compat.vllm.options.serve import SERVE
from weft.compat.vllm.options.structures import STRUCTURES

TABLES = {"engine": ENGINE, "serve": SERVE, "sampling": SAMPLING, "structures": STRUCTURES, "beam": BEAM,
          "pooling": POOLING, "generating": GENERATING, "embedding": EMBEDDING}


def section(rows: Mapping[str, Option]) -> str:
    """The Markdown of one table: a list of what is the same, and a table for each other state."""
    parts = []
    plain = [option for option in rows.values() if option.state == SAME and not option.say]
    if plain:
        parts.append(f"The same: {', '.join(_named(option) for option in plain)}.\n")
    read = [option for option in rows.values() if option.state == SAME and option.say]
    parts += _table("The same, with a difference", read, lambda o: o.say)
    parts += _table("Becomes", [o for o in rows.values() if o.state == TRANSLATED], lambda o: o.say)
    parts += _reasons([o for o in rows.values() if o.state == NO_EFFECT])
    refused = [o for o in rows.values() if o.state == REFUSED]
    if len({o.say for o in refused}) == 1 and not any(o.off for o in refused):
        parts.append(f"Refused, all of them: {', '.join(map(_named, refused))}. {refused[0].say}\n")
    else:
        parts += _table("Refused, unless", refused, lambda o: f"{_values(o)} | {o.say}", "is | else")
    return "\n".join(parts)


def _named(option: Option) -> str:
    return f"`{option.name}`" + (f" ({option.versions.replace('-', '–')})" if "-" in option.versions else "")


def _values(option: Option) -> str:
    return ", ".join(["none", *(f"`{value!r}`" for value in option.off)])


def _table(title: str, options: list[Option], cells, heads: str = "here") -> list[str]:
    if not options:
        return []
    lines = [f"| {title} | in vLLM | {heads} |", "|---" * (3 + heads.count("|")) + "|"]
    lines += [f"| `{o.name}` | {_versions(o)} | {cells(o)} |" for o in options]
    return ["\n".join(lines) + "\n"]


def _reasons(options: list[Option]) -> list[str]:
    """One line for each reason, with all options that have it."""
    if not options:
        return []
    by_reason: dict[str, list[Option]] = {}
    for option in options:
        by_reason.setdefault(option.say, []).append(option)
    lines = ["| No effect | because |", "|---|---|"]
    lines += [f"| {', '.join(map(_named, group))} | {reason} |" for reason, group in by_reason.items()]
    return ["\n".join(lines) + "\n"]


def _versions(option: Option) -> str:
    return option.versions.replace("-", "–").replace("+", " and up") or "OpenAI's"


if __name__ == "__main__":
    sys.exit(main("docs/coming-from-vllm.md", {name: section(rows) for name, rows in TABLES.items()}))
